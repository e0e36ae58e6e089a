"""mIoU over the steps of a localizer that works in steps: AdvCAM's climb, RIB's adaptation, FickleNet's draws.

Runs the localizer of a config's pseudo_labels on some images that have ground truth, and scores the class maps after
every step at the threshold that is best for that step. Variants are the same config with other settings; they share
the images. OUT.csv holds the figures, OUT.png the lines, OUT.json what they were made of;
configs/advcam/deeplabv2_toy.py has such a picture in its report. The best threshold is chosen with the ground truth
that it is scored on, as in papers; the column miou_first keeps the threshold that is best after one step.

Examples:
    AdvCAM, with and without its regularisation, on 60 images of the toy:
    python tools/trace.py configs/advcam/labels_toy.py --images 60 --out work_dirs/curves/advcam --name AdvCAM \\
        --variant "no regularisation: generator.localizer.localizer.regularization=0"
    the same with plain CAM beside it, a localizer without steps, as a level:
    python tools/trace.py configs/advcam/labels_toy.py --images 60 --out work_dirs/curves/advcam \\
        --variant "CAM: generator.localizer.localizer.type=wsss_mm.CAM generator.localizer.localizer._delete_=True"
    RIB with GNDRP and with GAP:
    python tools/trace.py configs/rib/labels_toy.py --images 60 --out work_dirs/curves/rib --name GNDRP \\
        --variant "GAP: generator.localizer.pooling=gap"
    VOC, the first 200 images of train, the list below the data set's data_root:
    python tools/trace.py configs/advcam/labels_voc.py --images 200 --split ImageSets/Segmentation/train.txt \\
        --device cuda --out work_dirs/curves/advcam_voc
"""

import argparse
import shlex
from pathlib import Path
from typing import Any

import _common


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config whose pseudo_labels come from class maps')
    parser.add_argument('--out', required=True, metavar='PATH', help='writes PATH.csv, PATH.png and PATH.json')
    parser.add_argument('--images', type=int, metavar='N', help='the first N images with ground truth (default: all)')
    parser.add_argument('--split', metavar='FILE', help="list of image ids below the data set's data_root (default: "
                        "the config's own)")
    parser.add_argument('--truth', metavar='DIR', help="folder of ground-truth PNGs (default: the data set's own)")
    parser.add_argument('--checkpoint', help='trained model (default: <work_dir>/final.pth)')
    parser.add_argument('--name', help="the config's own name in the legend (default: its localizer's)")
    parser.add_argument('--variant', action='append', default=[], metavar='"NAME: KEY=VALUE …"',
                        help='once more with other settings, keys below pseudo_labels; may be repeated')
    parser.add_argument('--title', default='', help='above the plot')
    parser.add_argument('--device', default='auto', help='where the network runs: auto, cpu, cuda, cuda:1')
    return parser.parse_args()


def parse_variant(text: str) -> tuple[str, dict[str, Any]]:
    """``'name: key=value key=value'`` -> name and settings, values as ``--cfg-options`` reads them."""
    from mmengine.config import DictAction

    from wsss_mm.errors import ConfigError
    name, found, settings = text.partition(':')
    pairs = shlex.split(settings)
    if not found or not name.strip() or not pairs or not all('=' in pair for pair in pairs):
        raise ConfigError(f'--variant {text!r}', expected='"NAME: KEY=VALUE …", as in "no regularisation: '
                          'generator.localizer.localizer.regularization=0"')
    parser = argparse.ArgumentParser()
    parser.add_argument('settings', nargs='+', action=DictAction)
    return name.strip(), parser.parse_args(pairs).settings


def localizer_of(cfg: Any, name: str) -> Any:
    """The localizer of a config's label generator."""
    from wsss_mm.errors import ConfigError
    from wsss_mm.localization import ImageLocalizer
    from wsss_mm.registry import TASK_UTILS
    try:
        generator = TASK_UTILS.build(cfg.pseudo_labels.generator)
    except TypeError as error:   # an argument that a part does not have
        raise ConfigError(f'{name}: {error}', file=cfg.filename, expected='settings that the parts have',
                          fix='correct the key; keys start below pseudo_labels') from None
    found = getattr(generator, 'localizer', None)
    if not isinstance(found, ImageLocalizer):
        raise ConfigError(f'{name}: {type(generator).__name__} has no localizer', file=cfg.filename,
                          expected='a generator that makes class maps, such as ClassMapLabels',
                          fix='take a config such as configs/advcam/labels_toy.py')
    return found


def main() -> None:
    args = parse_args()
    import torch

    from wsss_mm.engine.stages import load_config, trace_settings
    from wsss_mm.errors import ConfigError
    from wsss_mm.evaluation.trace import images_with_truth, read_samples, step_rows, trace_scores
    from wsss_mm.files import write_atomic, write_json
    from wsss_mm.localization import MultiScale
    from wsss_mm.progress import Progress
    from wsss_mm.pseudo_labels.run import load_model
    from wsss_mm.registry import DATASETS, enter_scope
    from wsss_mm.requirements import installed_versions
    from wsss_mm.safe_loading import file_sha256
    from wsss_mm.visualization.step_curves import save_step_curves
    if args.images is not None and args.images < 1:
        raise ConfigError(f'--images {args.images}', expected='1 or more')
    cfg = load_config(args.config)
    section = cfg.get('pseudo_labels') or {}
    if not cfg.get('model') or not section.get('generator') or not section.get('dataset'):
        raise ConfigError('no model, or no pseudo_labels with a generator and a dataset', file=args.config,
                          fix='take a config that makes class maps, as configs/advcam/labels_toy.py')
    enter_scope(cfg)
    if args.split:
        section.dataset.ann_file = args.split
    own = localizer_of(cfg, args.config)
    # MultiScale wraps what users know by its name.
    localizers = {args.name or type(own.localizer if isinstance(own, MultiScale) else own).__name__: own}
    for name, settings in map(parse_variant, args.variant):
        if name in localizers:
            raise ConfigError(f'two variants are called {name!r}', expected='different names', fix='see also --name')
        changed = load_config(args.config)
        changed.merge_from_dict({f'pseudo_labels.{key}': value for key, value in settings.items()})
        localizers[name] = localizer_of(changed, f'--variant {name!r}')
    dataset = DATASETS.build(section.dataset)
    truth = args.truth or getattr(dataset, 'data_prefix', {}).get('seg_map_path')
    if not truth:
        raise ConfigError('the data set has no folder of ground truth', file=args.config, fix='name it: --truth DIR')
    numbers = images_with_truth(dataset, truth, args.images)
    checkpoint = Path(args.checkpoint or Path(cfg.work_dir) / 'final.pth')
    model = load_model(cfg, checkpoint)
    # of the file, since the list was replaced here
    settings = dict(trace_settings(load_config(args.config), vars(args)), checkpoint=file_sha256(checkpoint))
    device = args.device if args.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
    model.to(device).eval()

    progress = Progress(len(numbers) * len(localizers), f'traced, {len(numbers)} images')
    rows = {}
    for name, localizer in localizers.items():
        rows[name] = step_rows(trace_scores(localizer, model, read_samples(dataset, numbers), truth,
                                            len(dataset.metainfo['classes']), progress=progress.step))
    progress.finish()
    table = '\n'.join([','.join(['variant', *next(iter(rows.values()))[0]]), *(
        ','.join(['"' + name.replace('"', '""') + '"', *(f'{v:.6g}' for v in row.values())])
        for name, found in rows.items() for row in found)])
    write_atomic(f'{args.out}.csv', f'{table}\n'.encode())
    save_step_curves(f'{args.out}.png', {name: [row['miou'] for row in found] for name, found in rows.items()},
                     args.title, 'steps', 'mIoU at the best threshold, %')
    write_json(f'{args.out}.json', dict(settings=settings, images=len(numbers), versions=installed_versions(),
                                        variants=dict(map(parse_variant, args.variant))))
    for name, found in rows.items():
        best = max(found, key=lambda row: row['miou'])
        print(f'{name}: mIoU {found[0]["miou"]:.1f} after one step, {found[-1]["miou"]:.1f} after {len(found)}; '
              f'best {best["miou"]:.1f} after {best["step"]}, threshold {best["threshold"]:.2f}')
    print(f'thresholds were chosen with the ground truth of these {len(numbers)} images\n'
          f'written: {args.out}.csv, {args.out}.png')


if __name__ == '__main__':
    _common.run(main)
