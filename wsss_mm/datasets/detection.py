"""Training data of mmdet's detectors: COCO files of boxes, and of pseudo masks that leave pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as coco_masks

from wsss_mm.errors import DataError
from wsss_mm.registry import DATASETS, TRANSFORMS

IGNORED = 2   # in masks; 1 is the object


class _InOrder(COCO):
    """mmdet numbers classes by the file's order of categories and names them by that of the data set's classes."""

    def get_cat_ids(self, cat_names: Sequence[str] = (), sup_names: Sequence[str] = (), cat_ids: Sequence[int] = ()
                    ) -> list[int]:
        found = super().get_cat_ids(list(cat_names), list(sup_names), list(cat_ids))
        names = [self.cats[number]['name'] for number in found]
        if cat_names and names != list(cat_names):
            raise ValueError(f'of the classes it has, in this order, {", ".join(names) or "none"}')
        return found


@DATASETS.register_module()
class InstanceLabelDataset(CocoDataset):
    """mmdet's COCO dataset, whose annotations may also have an ``ignore_region``, an RLE of pixels that are left out.

    Each entry of ``instances`` then has it as ``mask_ignore`` beside ``mask``. Without such regions, as in a file of
    boxes or of true masks, this is ``CocoDataset``; and that one reads the same files, with ignored pixels as
    background.

    Args:
        labels_made_by: Config of the stage that writes ``ann_file``; named in the error when it is missing.
        kwargs: As of ``CocoDataset``.

    Raises:
        DataError: no such file, not a COCO file, or one whose categories are not the classes in their order.
    """

    COCOAPI = _InOrder

    def __init__(self, *args: Any, labels_made_by: str | None = None, **kwargs: Any) -> None:
        self.labels_made_by = labels_made_by
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the file; see the class."""
        if not Path(self.ann_file).is_file():
            raise DataError('the COCO file of instances is not there', file=self.ann_file, fix=self._command())
        try:
            return super().load_data_list()
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise DataError(f'not readable as COCO annotations ({type(error).__name__}: {error})', file=self.ann_file,
                            expected='images, annotations with bbox, area and category_id, and the categories '
                                     + ', '.join(self.metainfo['classes'][:30]),
                            fix=self._command()) from error

    def _command(self) -> str:
        if self.labels_made_by is not None:
            return (f'run: python tools/generate.py {self.labels_made_by}\n'
                    '    (python tools/train.py with this config runs the whole chain)')
        return ('correct ann_file, or write it\n    python tools/prepare_dataset.py instances --root ROOT   (VOC\'s '
                'layout)\n    python tools/prepare_dataset.py coco --year 2017 --root ROOT')

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image's info; ``mask_ignore`` goes with the instances that ``CocoDataset`` keeps."""
        info = super().parse_data_info(raw_data_info)
        # the parent drops some annotations and keeps no ids, but hands their masks on as they are
        regions = {id(a['segmentation']): a['ignore_region'] for a in raw_data_info['raw_ann_info']
                   if a.get('ignore_region') and a.get('segmentation')}
        for instance in info['instances']:
            region = regions.get(id(instance.get('mask')))
            if region is not None:
                instance['mask_ignore'] = region
        return info


@TRANSFORMS.register_module()
class LoadInstanceLabels(LoadAnnotations):
    """Boxes, classes, and masks with ignored pixels: one ``BitmapMasks`` of 0 background, 1 object, 2 ignored.

    As one array it takes mmdet's transforms as any mask does: resizing (nearest), flips, crops and padding (with 0)
    keep its values. :class:`~wsss_mm.models.detection.IgnoreFCNMaskHead` reads it; other heads would take the 2 for
    a number.

    Args:
        kwargs: As of mmdet's ``LoadAnnotations``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**(dict(with_bbox=True, with_mask=True, poly2mask=True) | kwargs))

    def _load_masks(self, results: dict) -> None:
        super()._load_masks(results)
        height, width = results['ori_shape']
        masks = results['gt_masks'].masks
        for number, instance in enumerate(results['instances']):
            if 'mask_ignore' not in instance:
                continue
            region = instance['mask_ignore']
            if tuple(region['size']) != (height, width):
                raise DataError(f'an ignore_region of {tuple(region["size"])}', file=results['img_path'],
                                expected=f'{(height, width)}, the size of the image')
            if isinstance(region['counts'], list):
                region = coco_masks.frPyObjects(region, height, width)
            masks[number][(coco_masks.decode(region) > 0) & (masks[number] == 0)] = IGNORED
        results['gt_masks'] = BitmapMasks(np.ascontiguousarray(masks, np.uint8), height, width)
