"""Which pixels of a training sample are image, and which padding."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from wsss_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MarkValid(BaseTransform):
    """Add ``gt_valid`` (H, W) uint8 to ``seg_fields``: 1 everywhere; crops and batches pad it with 255.

    Goes before any crop. In a label map of cues 255 means "no cue"; without this map, what a crop adds to a small image
    could not be told from it, and losses over all pixels (SEC's expansion and constraint) would see the padding.
    """

    def transform(self, results: dict) -> dict:
        """Set ``gt_valid``."""
        results['gt_valid'] = np.ones(results['img'].shape[:2], np.uint8)
        results['seg_fields'].append('gt_valid')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
