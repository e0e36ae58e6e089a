"""Boxes on the pixel grid."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError


def pixel_boxes(boxes: Tensor, height: int, width: int, rounding: str = 'exact') -> Tensor:
    """Boxes as whole pixels inside the image, at least one pixel wide and high.

    Args:
        boxes: ``(K, 4)`` float32 ``x1, y1, x2, y2`` in pixels, half-open.
        height, width: The image's size.
        rounding: ``'exact'`` takes every pixel the box touches. ``'official'`` does as BANA's code: to [-1, 1] and
            back in float32, then truncation, which loses a pixel on about 4 % of whole coordinates.

    Returns:
        ``(K, 4)`` int64, for half-open slices.

    Raises:
        ConfigError: another ``rounding``.
    """
    boxes = boxes.float()
    if rounding == 'official':
        half = (torch.tensor([width, height] * 2) - 1).clamp_min(1) / 2
        low, high = ((boxes / half - 1) * half + half).long().split(2, 1)
    elif rounding == 'exact':
        low, high = boxes[:, :2].floor().long(), boxes[:, 2:].ceil().long()
    else:
        raise ConfigError(f'box_rounding={rounding!r}', expected="'official' or 'exact'")
    size = torch.tensor([width, height])
    low = torch.minimum(low.clamp_min(0), size - 1)
    return torch.cat([low, torch.maximum(torch.minimum(high, size), low + 1)], 1)


def box_masks(boxes: Tensor, index: Tensor, count: int, height: int, width: int) -> Tensor:
    """Union of the boxes of each group.

    Args:
        boxes: ``(K, 4)`` int64, from :func:`pixel_boxes`.
        index: ``(K,)`` int64, group of each box, 0…count-1.
        count: Number of groups.
        height, width: The image's size.

    Returns:
        ``(count, H, W)`` bool.
    """
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    # One slice per box writes its own pixels only; a comparison of all pixels with all boxes would touch K·H·W.
    for (x1, y1, x2, y2), group in zip(boxes.tolist(), index.tolist(), strict=True):
        masks[group, y1:y2, x1:x2] = True
    return masks


def smallest_box(boxes: Tensor, height: int, width: int) -> Tensor:
    """The smallest box over each pixel; of equal ones the first.

    Args:
        boxes: ``(K, 4)`` int64, from :func:`pixel_boxes`.
        height, width: The image's size.

    Returns:
        ``(H, W)`` int64, index of the box, -1 outside all boxes.
    """
    owner = torch.full((height, width), -1)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in reversed(area.argsort(stable=True).tolist()):   # one slice per box, as above
        x1, y1, x2, y2 = boxes[i].tolist()
        owner[y1:y2, x1:x2] = i
    return owner
