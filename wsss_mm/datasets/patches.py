"""Texture patches with one label each: the toy's stand-in for ImageNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from wsss_mm.errors import DataError
from wsss_mm.registry import DATASETS


@DATASETS.register_module()
class PatchDataset(BaseDataset):
    """Patches of ``patches.npz`` (``images (n, h, w, 3)`` uint8 RGB, ``labels (n,)``, ``names``).

    Args:
        ann_file: The ``patches.npz``.
        kwargs: As in mmengine's ``BaseDataset``.

    Raises:
        DataError: the file is not there.
    """

    def __init__(self, ann_file: str, **kwargs: Any) -> None:
        # A few megabytes of arrays: kept as they are rather than pickled per item.
        super().__init__(ann_file=ann_file, serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One item per patch, in the keys that the pipeline's transforms read."""
        if not Path(self.ann_file).is_file():
            raise DataError('no texture patches', file=self.ann_file,
                            fix=f'python tools/prepare_dataset.py patches --root {Path(self.ann_file).parent}')
        with np.load(self.ann_file, allow_pickle=False) as f:
            images, labels = f['images'], f['labels']
            self._metainfo['classes'] = tuple(str(n) for n in f['names'])
        tags = np.eye(len(self._metainfo['classes']), dtype=np.float32)
        return [dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=f'patch_{i:05d}', img_path='',
                     img_shape=image.shape[:2], ori_shape=image.shape[:2], gt_label=tags[label], seg_fields=[])
                for i, (image, label) in enumerate(zip(images, labels, strict=True))]
