"""Packing a sample for the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData
from mmseg.datasets.transforms import PackSegInputs

from wsss_mm.registry import TRANSFORMS

_SAMPLE_NAMES = {'gt_seg_map_ret': 'gt_sem_seg_ret'}


@TRANSFORMS.register_module()
class PackWeakInputs(PackSegInputs):
    """mmseg's packing, plus every further label map, boxes and tags (``docs/contracts.md``, "A training sample").

    Args:
        meta_keys: Meta keys, where present in the results.
    """

    def __init__(self, meta_keys: Sequence[str] = (
            'img_path', 'img_id', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
            'flip_direction', 'reduce_zero_label', 'annotations', 'crowds')) -> None:
        super().__init__(meta_keys)

    def transform(self, results: dict) -> dict:
        """Give ``inputs`` (3, H, W) uint8 and ``data_samples``."""
        packed = super().transform(results)
        sample = packed['data_samples']
        for key in results.get('seg_fields', []):
            if key != 'gt_seg_map':
                # These stay uint8: nothing indexes with them, and that is an eighth of the bytes.
                kind = np.uint8 if key in ('gt_bg_mask', 'gt_prior', 'gt_valid') else np.int64
                data = torch.from_numpy(np.ascontiguousarray(results[key][None], dtype=kind))
                sample.set_data({_SAMPLE_NAMES.get(key, key): PixelData(data=data)})
        if 'gt_bboxes' in results:
            sample.set_data(dict(gt_instances=InstanceData(
                bboxes=torch.from_numpy(np.asarray(results['gt_bboxes'], np.float32).reshape(-1, 4)),
                labels=torch.from_numpy(np.asarray(results['gt_bboxes_labels'], np.int64)))))
        if 'gt_label' in results:
            sample.set_data(dict(gt_label=torch.from_numpy(results['gt_label'])))
        return packed
