"""Show what a two-stage detector of mmdet looks at, for each box in one image.

Takes any config of mmdet's and its checkpoint, finds the objects in an image (or takes the boxes that it is given), and
draws for each the attribution map and the mask made of it. OUT/<image>.png shows all of them, OUT/<image>_<number>.png
each map at the image's own size; OUT/<image>.npz holds the maps, OUT/<image>.json boxes, classes, statuses and masks.
The page is docs/explaining.md. For the boxes of a whole data set: tools/generate.py with a config such as
configs/bbam/faster-rcnn_toy.py.

Examples:
    What the detector finds itself:
    python tools/explain.py my_faster_rcnn.py --checkpoint my.pth --image street.jpg --out explained
    two boxes of one's own, in pixels x1,y1,x2,y2 and the class:
    python tools/explain.py my_faster_rcnn.py --checkpoint my.pth --image street.jpg --out explained \\
        --boxes 48,240,195,371,car 8,12,352,498,person
    the toy detector by Grad-CAM:
    python tools/explain.py configs/bbam/faster-rcnn_toy.py --explainer gradcam --out explained \\
        --masks configs/bbam/masks_toy.py --image data/toy_voc/boxes_world0/JPEGImages/train_00000.jpg
    BBAM with other settings:
    python tools/explain.py my_faster_rcnn.py --checkpoint my.pth --image street.jpg --out explained \\
        --options iterations=100 heads=box
"""

import argparse
import difflib
from pathlib import Path
from typing import Any

import _common

EXPLAINERS = dict(bbam='wsss_mm.BBAMExplainer', gradcam='wsss_mm.RoIGradCAM', simplegrad='wsss_mm.RoISimpleGrad')


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="a detector's config")
    parser.add_argument('--checkpoint', help='trained detector (default: <work_dir>/final.pth)')
    parser.add_argument('--image', required=True, metavar='FILE')
    parser.add_argument('--boxes', nargs='+', metavar='X1,Y1,X2,Y2,CLASS',
                        help="boxes in pixels (default: the detector's own detections)")
    parser.add_argument('--score-thr', type=float, default=.7, metavar='S', help='lowest score of a detection (.7)')
    parser.add_argument('--explainer', choices=sorted(EXPLAINERS), help="default: the config's, or bbam")
    parser.add_argument('--options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help="the explainer's arguments")
    parser.add_argument('--masks', metavar='CONFIG', help='a config that makes masks of maps (default: the '
                        'published settings, for photographs)')
    parser.add_argument('--no-masks', action='store_true', help='maps alone')
    parser.add_argument('--out', required=True, metavar='DIR')
    parser.add_argument('--device', default='auto', help='where the network runs: auto, cpu, cuda, cuda:1')
    return parser.parse_args()


def explainer_of(cfg: Any, kind: str | None, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The explainer, and its settings.

    A config that explains boxes says how. Its scale and stride serve other explainers too. Other configs get the scale
    of their test pipeline and BBAM's published settings.
    """
    from wsss_mm.errors import ConfigError
    from wsss_mm.registry import TASK_UTILS
    own = dict((((cfg.get('pseudo_labels') or {}).get('generator') or {}).get('explainer')) or {})
    if kind is None or own.get('type') == EXPLAINERS[kind]:
        settings = own or dict(type=EXPLAINERS['bbam'], scale=test_scale(cfg))
    else:
        settings = dict(type=EXPLAINERS[kind], **{k: own[k] for k in ('scale', 'stride') if k in own})
        settings.setdefault('scale', test_scale(cfg))
    settings.update(options)
    try:
        return TASK_UTILS.build(dict(settings)), settings
    except TypeError as error:   # an argument that it does not have
        raise ConfigError(f'{settings["type"]}: {error}', expected="the explainer's own arguments",
                          fix='correct --options') from None


def test_scale(cfg: Any) -> tuple[int, int]:
    """Longest and shortest side of the config's test images; the published ones where it names none."""
    pipeline = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline') or []
    found = [step['scale'] for step in pipeline if step['type'] in ('Resize', 'mmdet.Resize') and step.get('scale')]
    return tuple(found[0]) if found else (1333, 800)


def class_names(cfg: Any, model: Any, count: int) -> list[str]:
    """Names of the detector's classes: of the checkpoint, else of the config's data set, else numbers."""
    from wsss_mm.registry import DATASETS
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    kind = DATASETS.get(dataset['type']) if dataset.get('type') else None
    stored = getattr(model, 'dataset_meta', None) or {}   # as load_model found it in the checkpoint
    for names in (stored.get('classes'), stored.get('CLASSES'), (dataset.get('metainfo') or {}).get('classes'),
                  getattr(kind, 'METAINFO', {}).get('classes')):
        if isinstance(names, (list, tuple)) and len(names) == count:
            return list(names)
    return [f'class {i}' for i in range(count)]


def parse_box(text: str, names: list[str], size: tuple[int, int]) -> tuple[list[float], int]:
    """``'x1,y1,x2,y2,class'`` -> the box in pixels and the class's index."""
    from wsss_mm.errors import ConfigError, DataError
    *numbers, name = text.split(',', 4)
    try:
        x1, y1, x2, y2 = (float(v) for v in numbers)
    except ValueError:
        raise ConfigError(f'--boxes {text}', expected='x1,y1,x2,y2,class, as 48,240,195,371,car') from None
    name = name.strip()
    if name not in names:
        close = difflib.get_close_matches(name, names, 3, .5)
        raise ConfigError(f'--boxes {text}: the detector has no class {name!r}',
                          expected=', '.join(names[:30]) + (', …' if len(names) > 30 else ''),
                          fix=f'did you mean {" or ".join(close)}?' if close else 'take one of these')
    height, width = size
    if not (x1 < x2 and y1 < y2 and x1 < width and y1 < height and x2 > 0 and y2 > 0):
        raise DataError(f'--boxes {text} has no pixel in an image of {width} x {height} (width x height)',
                        expected='x1 < x2 and y1 < y2, in pixels from the upper left corner')
    return [x1, y1, x2, y2], names.index(name)


def mask_builder(path: str | None) -> Any:
    """What makes masks of the maps: that of a config of masks, or the published one."""
    from wsss_mm.engine.stages import load_config
    from wsss_mm.errors import ConfigError
    from wsss_mm.registry import TASK_UTILS
    if path is None:
        return TASK_UTILS.build(dict(type='wsss_mm.MaskBuilder'))
    builder = ((load_config(path).get('pseudo_labels') or {}).get('generator') or {}).get('builder')
    if builder is None:
        raise ConfigError('its pseudo_labels.generator has no builder', file=path,
                          expected='a config that makes masks of maps, as configs/bbam/masks_voc.py')
    return TASK_UTILS.build(builder)


def main() -> None:
    args = parse_args()
    import numpy as np
    import torch

    from wsss_mm.datasets.label_readers import read_image
    from wsss_mm.datasets.toy_voc import voc_palette
    from wsss_mm.engine.stages import load_config
    from wsss_mm.errors import ConfigError, DataError
    from wsss_mm.files import png_bytes, write_atomic, write_json
    from wsss_mm.pseudo_labels.run import load_model
    from wsss_mm.registry import enter_scope
    from wsss_mm.safe_loading import file_sha256
    from wsss_mm.visualization import heat_map
    from wsss_mm.visualization.explain import object_sheet
    cfg = load_config(args.config)
    if not cfg.get('model'):
        raise ConfigError('no model', file=args.config, expected="a detector's config")
    if not Path(args.image).is_file():
        raise DataError('no such image', file=args.image, fix='check --image')
    enter_scope(cfg, 'mmdet')
    image = read_image(args.image)
    checkpoint = Path(args.checkpoint or Path(cfg.work_dir) / 'final.pth')
    model: Any = load_model(cfg, checkpoint)
    device = args.device if args.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
    model.to(device).eval()
    explainer, settings = explainer_of(cfg, args.explainer, args.options)
    explainer.check(model)
    head = model.roi_head.bbox_head
    names = class_names(cfg, model, (head[-1] if hasattr(head, '__len__') else head).num_classes)
    builder = None if args.no_masks else mask_builder(args.masks)
    stem, out, scores = Path(args.image).stem, Path(args.out), None
    if args.boxes:
        pairs = [parse_box(text, names, image.shape[:2]) for text in args.boxes]
        boxes, labels = np.array([p[0] for p in pairs], np.float32), np.array([p[1] for p in pairs], np.int64)
        maps, = explainer.explain(model, [image], [boxes], [labels], [np.arange(1, len(boxes) + 1)], [stem])
    else:
        maps, scores = explainer.explain_detections(model, [image], [stem], args.score_thr)[0]
        if not len(maps):
            raise DataError(f'the detector finds nothing with a score of {args.score_thr} or more', file=args.image,
                            fix='lower --score-thr, or name boxes with --boxes')
    masks = None if builder is None else builder(image, maps)
    title = f'{Path(args.image).name}, {type(explainer).__name__}'
    sheet = object_sheet(image, maps, names, voc_palette(), masks, scores, title)
    write_atomic(out / f'{stem}.png', png_bytes(sheet))
    for number, i in enumerate(maps.ids):
        write_atomic(out / f'{stem}_{i}.png', png_bytes(heat_map(maps.full_size(number), image)))
    write_atomic(out / f'{stem}.npz', maps.to_bytes())
    write_json(out / f'{stem}.json', dict(
        image=str(args.image), height=maps.height, width=maps.width, config=str(args.config),
        checkpoint=file_sha256(checkpoint), explainer=settings,
        objects=[describe(maps, n, names, masks, scores) for n in range(len(maps))]))
    print(f'{len(maps)} objects: {out / stem}.png')


def describe(maps: Any, number: int, names: list[str], masks: Any, scores: Any) -> dict[str, Any]:
    """What is known of one object, for the JSON."""
    from wsss_mm.run_lengths import run_lengths
    found = dict(
        id=int(maps.ids[number]), category=names[int(maps.labels[number]) - 1], status=maps.statuses[number],
        box=[round(float(v), 2) for v in maps.boxes[number]], stride=round(float(maps.strides[number]), 4),
        proposals=int(maps.positives[number]), iou_used=round(float(maps.iou_used[number]), 4),
        iterations=int(maps.iterations[number]), loss_box=float(maps.loss_box[number]),
        loss_cls=float(maps.loss_cls[number]))
    if scores is not None:
        found['score'] = round(float(scores[number]), 6)
    if masks is not None:
        mask = masks.masks[number]
        found.update(mask_status=masks.statuses[number], segmentation=run_lengths(mask == 1))
        if (mask == 2).any():
            found['ignore_region'] = run_lengths(mask == 2)
    return found


if __name__ == '__main__':
    _common.run(main)
