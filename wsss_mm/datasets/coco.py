"""COCO 2014 with image tags; ground truth from COCO-Stuff's pixelmaps."""

from __future__ import annotations

import os.path as osp
import re
from collections.abc import Sequence
from typing import Any

from wsss_mm.datasets.toy_voc.writer import voc_palette
from wsss_mm.datasets.voc import WeakSegDataset
from wsss_mm.errors import DataError
from wsss_mm.registry import DATASETS

TAG_FILE = 'image_tags.json'
# The 80 categories with instances: COCO's own id and name. Ids run to 90 with ten gaps.
CATEGORIES = {
    1: 'person', 2: 'bicycle', 3: 'car', 4: 'motorcycle', 5: 'airplane', 6: 'bus', 7: 'train', 8: 'truck', 9: 'boat',
    10: 'traffic light', 11: 'fire hydrant', 13: 'stop sign', 14: 'parking meter', 15: 'bench', 16: 'bird', 17: 'cat',
    18: 'dog', 19: 'horse', 20: 'sheep', 21: 'cow', 22: 'elephant', 23: 'bear', 24: 'zebra', 25: 'giraffe',
    27: 'backpack', 28: 'umbrella', 31: 'handbag', 32: 'tie', 33: 'suitcase', 34: 'frisbee', 35: 'skis',
    36: 'snowboard', 37: 'sports ball', 38: 'kite', 39: 'baseball bat', 40: 'baseball glove', 41: 'skateboard',
    42: 'surfboard', 43: 'tennis racket', 44: 'bottle', 46: 'wine glass', 47: 'cup', 48: 'fork', 49: 'knife',
    50: 'spoon', 51: 'bowl', 52: 'banana', 53: 'apple', 54: 'sandwich', 55: 'orange', 56: 'broccoli', 57: 'carrot',
    58: 'hot dog', 59: 'pizza', 60: 'donut', 61: 'cake', 62: 'chair', 63: 'couch', 64: 'potted plant', 65: 'bed',
    67: 'dining table', 70: 'toilet', 72: 'tv', 73: 'laptop', 74: 'mouse', 75: 'remote', 76: 'keyboard',
    77: 'cell phone', 78: 'microwave', 79: 'oven', 80: 'toaster', 81: 'sink', 82: 'refrigerator', 84: 'book',
    85: 'clock', 86: 'vase', 87: 'scissors', 88: 'teddy bear', 89: 'hair drier', 90: 'toothbrush'}
PALETTE = voc_palette()[:len(CATEGORIES) + 1].tolist()
_IMAGE_ID = re.compile(r'COCO_(train2014|val2014)_\d{12}')


@DATASETS.register_module()
class WeakCOCODataset(WeakSegDataset):
    """COCO 2014 with image tags, 80 classes; laid out by ``tools/prepare_dataset.py coco``.

    Image ids are file stems, ``COCO_train2014_000000000009``, whose second part is the images' folder below
    ``data_root``.

    Args:
        ann_file, kwargs: As of :class:`WeakSegDataset`.
        tag_file: Image tags below ``data_root``.
        box_dir: COCO's boxes are in no XML files, so None.
    """

    METAINFO = dict(classes=('background', *CATEGORIES.values()), palette=PALETTE)
    DEFAULT_PREFIX = dict(img_path='', seg_map_path='SegmentationClass')
    PREPARED_BY = 'python tools/prepare_dataset.py coco --root {root}   (says what to put where)'

    def __init__(self, ann_file: str | Sequence[str], *, tag_file: str | None = TAG_FILE, box_dir: str | None = None,
                 **kwargs: Any) -> None:
        super().__init__(ann_file, tag_file=tag_file, box_dir=box_dir, **kwargs)

    def _image_path(self, image_id: str) -> str:
        found = _IMAGE_ID.fullmatch(image_id)
        if found is None:
            raise DataError(f'image id {image_id!r}', file=str(self.ann_file),
                            expected='ids of COCO 2014, as COCO_train2014_000000000009')
        return osp.join(self.data_prefix['img_path'], found[1], image_id + self.img_suffix)
