"""Masks of objects from label maps and boxes, as BANA trains Mask R-CNN (Oh et al., CVPR 2021, Sec. 4.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.datasets.label_readers import IGNORED, read_label_map
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization import pixel_boxes, smallest_box
from wsss_mm.pseudo_labels.instance_labels import InstanceLabels
from wsss_mm.pseudo_labels.saved_maps import made_of
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, ObjectMasks


@TASK_UTILS.register_module()
class LabelPairInstances(InstanceLabels):
    """Instances from two label maps of an image that need not agree, as Y_crf and Y_ret of :class:`BANALabels`.

    An object's pixels are those of its box where both maps say its class, the paper's reliable region S. Where one says
    it and the other does not, the pixel is ignored. The rest is background. With one map nothing is ignored: Y_crf or
    Y_ret alone (Table 9 of the supplement).

    A label map does not tell objects of one class apart, and the paper does not say what tells them: here, of boxes of
    one class that overlap, the smallest owns a pixel; to the others it is background. Objects left without a pixel are
    filled by :class:`InstanceLabels`.

    Args:
        label_dirs: One or two folders ``<image id>.png`` of earlier runs.
        **options: As of :class:`InstanceLabels`.

    Raises:
        ConfigError: another number of folders.
    """

    needs_model = False

    def __init__(self, label_dirs: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        if isinstance(label_dirs, str) or not 1 <= len(label_dirs) <= 2:
            raise ConfigError(f'label_dirs={label_dirs!r}', expected="['…/Y_crf', '…/Y_ret'], or one of them")
        self.label_dirs = list(label_dirs)

    def fingerprint(self) -> dict[str, str]:
        """Also ``maps``: what the label maps were made of, by their runs, or by their bytes where no run made them.

        Raises:
            DataError: no label maps, or their run is not complete.
        """
        found = [_label_fingerprint(Path(folder)) for folder in self.label_dirs]
        return {**super().fingerprint(), 'maps': hashlib.sha256(' '.join(found).encode()).hexdigest()[:16]}

    def object_masks(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]
                     ) -> ObjectMasks:
        """See the class.

        Raises:
            DataError: a label map that is not there or of another size.
        """
        maps = torch.from_numpy(np.stack([self._read(folder, sample) for folder in self.label_dirs]))
        boxes = pixel_boxes(torch.from_numpy(sample.boxes), sample.height, sample.width)
        masks = pair_masks(maps, boxes, torch.from_numpy(sample.box_labels))
        statuses = ['ok' if found else 'empty' for found in (masks == 1).flatten(1).any(1)]
        return ObjectMasks(masks.numpy(), sample.box_ids, sample.boxes, sample.box_labels, statuses)

    def _read(self, folder: str, sample: ImageSample) -> np.ndarray:
        path = Path(folder) / f'{sample.image_id}.png'
        found = read_label_map(path)
        if found.shape != (sample.height, sample.width):
            raise DataError(f'has {found.shape[0]} x {found.shape[1]} pixels (height x width)', file=path,
                            expected=f'{sample.height} x {sample.width}, as the image')
        return found


def pair_masks(maps: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Masks of objects from label maps; see :class:`LabelPairInstances`.

    Cost: box by box, N passes over the image for each map; here one comparison per class present and one slice per box,
    beside the N masks that are written.

    Args:
        maps: ``(M, H, W)`` uint8 segmentation ids. 255 may be any class.
        boxes: ``(N, 4)`` int64, from :func:`~wsss_mm.localization.pixel_boxes`.
        labels: ``(N,)`` int64 segmentation ids.

    Returns:
        ``(N, H, W)`` uint8: 0 background, 1 object, 2 ignored.
    """
    height, width = maps.shape[1:]
    masks = maps.new_zeros(len(boxes), height, width)
    for label in labels.unique():
        group = (labels == label).nonzero()[:, 0]
        says = maps == label
        possible = (says | (maps == IGNORED)).any(0)
        values = torch.where(says.all(0), 1, 2) * possible
        owner = smallest_box(boxes[group], height, width)
        masks[group] = torch.where(owner == torch.arange(len(group))[:, None, None], values, 0).to(torch.uint8)
    return masks


def _label_fingerprint(folder: Path) -> str:
    found = made_of(folder, '*.png', 'label maps')
    if not folder.is_dir():
        raise DataError('no label maps here', file=folder, expected='<image id>.png, one per image',
                        fix='make them first, with tools/generate.py and the config of the labels')
    return found
