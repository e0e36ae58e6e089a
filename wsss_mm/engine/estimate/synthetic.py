"""Stand-ins for data that are not here: toy scenes enlarged to a usual size, in VOC's or COCO's layout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_mm.datasets.coco import CATEGORIES, TAG_FILE
from wsss_mm.datasets.label_readers import LISTS
from wsss_mm.datasets.toy_voc import scene
from wsss_mm.datasets.voc import WeakVOCDataset
from wsss_mm.datasets.voc_xml import annotation_xml
from wsss_mm.engine.estimate.overlay import Overlay
from wsss_mm.files import png_bytes
from wsss_mm.run_lengths import encode_masks

# Height and width; the commonest of VOC, and of COCO.
SIZES = dict(voc=(375, 500), coco=(480, 640), coco17=(480, 640))


def stand_in(overlay: Overlay, kind: str, root: str, lists: Iterable[str], count: int) -> set[str]:
    """Draw a small data set where VOC or COCO would be.

    The images are toy scenes of 1 to 3 objects, enlarged; their masks are the scenes' own.

    Args:
        overlay: Where it is written.
        kind: ``voc``, ``coco`` or ``coco17``.
        root: The data's root as the config has it.
        lists: Lists that the stages name; those below ``root`` are written, beside the usual ones.
        count: Images of train, and of val.

    Returns:
        The image ids.
    """
    overlay.folder(root)
    scenes = {split: [_Scene(i, split, kind) for i in range(count)] for split in ('train', 'val')}
    if kind == 'coco17':
        for split, found in scenes.items():
            for one in found:
                overlay.write(f'{root}/{split}2017/{one.image_id}.jpg', one.jpeg())
            overlay.write(f'{root}/annotations/instances_{split}2017.json', _coco_file(found))
        return {one.image_id for found in scenes.values() for one in found}
    named = {Path(p).stem for p in lists if Path(p).suffix == '.txt' and Path(root) in Path(p).parents}
    usual = {'train', 'trainaug', 'val'} if kind == 'voc' else {'train', 'train_objects', 'val'}
    for name in named | usual:
        ids = [one.image_id for one in scenes['val' if name.endswith('val') else 'train']]
        overlay.write(f'{root}/{LISTS}/{name}.txt', ''.join(f'{i}\n' for i in ids).encode())
    everything = [one for found in scenes.values() for one in found]
    for one in everything:
        folder = 'JPEGImages' if kind == 'voc' else one.image_id.split('_')[1]
        overlay.write(f'{root}/{folder}/{one.image_id}.jpg', one.jpeg())
        overlay.write(f'{root}/SegmentationClass/{one.image_id}.png', png_bytes(one.classes))
        if kind == 'voc':
            overlay.write(f'{root}/SegmentationClassAug/{one.image_id}.png', png_bytes(one.classes))
            overlay.write(f'{root}/SegmentationObject/{one.image_id}.png', png_bytes(one.objects))
            overlay.write(f'{root}/Annotations/{one.image_id}.xml', one.xml().encode())
    if kind == 'coco':
        tags = {one.image_id: one.names for one in everything}
        overlay.write(f'{root}/{TAG_FILE}', json.dumps(tags).encode())
    return {one.image_id for one in everything}


def stand_in_labels(overlay: Overlay, node: Any, ids_of: Callable[[Path], list[str]]) -> list[str]:
    """Label maps of background and the first class in coarse blocks, where a training's are not there.

    Args:
        overlay: Where they are written.
        node: The training's data loader, or any part with ``label_dirs`` in it.
        ids_of: Ids of a list's stand-in.

    Returns:
        The folders that were filled.
    """
    filled: list[str] = []
    if isinstance(node, Mapping):
        root, names = node.get('data_root') or '', node.get('ann_file') or ()
        for folder in (node.get('label_dirs') or {}).values():
            if overlay.inside(folder).exists():
                continue
            for name in [names] if isinstance(names, str) else names:
                for image_id in ids_of(overlay.inside(Path(root) / name)):
                    size = _size_of(overlay.inside(root), image_id, node)
                    blocks = np.random.default_rng(len(image_id)).integers(0, 2, (6, 8), np.uint8)
                    blocks = np.asarray(Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST))
                    overlay.write(f'{folder}/{image_id}.png', png_bytes(blocks))
            filled.append(folder)
    values = node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ()
    return filled + [folder for value in values for folder in stand_in_labels(overlay, value, ids_of)]


def _size_of(root: Path, image_id: str, node: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of an image, in VOC's, COCO's or the dataset's own folder."""
    suffix = node.get('img_suffix', '.jpg')
    folders = [(node.get('data_prefix') or {}).get('img_path', 'JPEGImages'), *image_id.split('_')[1:2]]
    for folder in folders:
        if (path := root / folder / f'{image_id}{suffix}').is_file():
            with Image.open(path) as picture:
                return picture.size
    return SIZES['voc'][::-1]


class _Scene:
    def __init__(self, index: int, split: str, kind: str) -> None:
        self.index, self.kind = index, kind
        self.image_id = dict(voc=f'2012_{index + (900000 if split == "val" else 0):06d}',
                             coco=f'COCO_{split}2014_{index + 1:012d}', coco17=f'{index + 1:012d}')[kind]
        drawn = scene('boxes', 0, split, index)
        self.size = SIZES[kind]
        height, width = self.size
        large = np.asarray(Image.fromarray(drawn.image).resize((width, height), Image.Resampling.BICUBIC), np.int16)
        grain = np.random.default_rng(index).integers(-12, 13, large.shape, np.int16)   # cameras have it; codecs see it
        self.image = (large + grain).clip(0, 255).astype(np.uint8)
        self.classes, self.objects = (np.asarray(Image.fromarray(a).resize((width, height), Image.Resampling.NEAREST))
                                      for a in (drawn.classes, drawn.instances))
        scale = np.array([width, height] * 2) / drawn.image.shape[0]
        self.boxes = [np.round(np.array(o.box) * scale).astype(int).tolist() for o in drawn.objects]
        self.labels = [int(drawn.classes[drawn.instances == k].max()) for k in range(1, len(drawn.objects) + 1)]
        classes = WeakVOCDataset.METAINFO['classes'] if kind == 'voc' else ('background', *CATEGORIES.values())
        self.names: list[str] = sorted({classes[label] for label in self.labels})
        self._classes = classes

    def jpeg(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.image).save(buffer, 'JPEG', quality=90)
        return buffer.getvalue()

    def xml(self) -> str:
        objects = [(self._classes[label], box, False) for label, box in zip(self.labels, self.boxes, strict=True)]
        return annotation_xml(f'{self.image_id}.jpg', self.size, objects)


def _coco_file(scenes: list[_Scene]) -> bytes:
    categories = [dict(id=number, name=name) for number, name in CATEGORIES.items()]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for one in scenes:
        height, width = one.size
        images.append(dict(id=one.index + 1, file_name=f'{one.image_id}.jpg', height=height, width=width))
        masks = np.stack([one.objects == k for k in range(1, len(one.boxes) + 1)])
        for (x1, y1, x2, y2), label, mask, code in zip(one.boxes, one.labels, masks, encode_masks(masks), strict=True):
            annotations.append(dict(
                id=len(annotations) + 1, image_id=one.index + 1, category_id=categories[label - 1]['id'],
                bbox=[x1, y1, x2 - x1, y2 - y1], iscrowd=0, area=int(mask.sum()), segmentation=code))
    content: dict[str, Any] = dict(images=images, annotations=annotations, categories=categories)
    return json.dumps(content).encode()
