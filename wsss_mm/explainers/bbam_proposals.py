"""BBAM's proposals around a box, and the grid that its mask has."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LOWER = (.7, .6, .5)


def object_seed(seed: int, image_id: str, annotation_id: int) -> int:
    """Seed of one object's draws: the same whatever it is explained together with."""
    digest = hashlib.sha256(f'{seed}/{image_id}/{annotation_id}'.encode()).digest()
    return int.from_bytes(digest[:8], 'little')


def jittered_boxes(box: np.ndarray, shape: tuple[int, int], count: int, jitter: float, seed: int) -> np.ndarray:
    """Proposals around a box: each coordinate moves alone by up to ``jitter`` of the side, then they are clipped.

    Args:
        box: ``(4,)`` x1, y1, x2, y2 within the image.
        shape: Height and width of the image.
        count: Number of proposals.
        jitter: A part of the side.
        seed: Of :func:`object_seed`.

    Returns:
        ``(count, 4)`` float32.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    moves = np.random.default_rng(seed).uniform(-jitter, jitter, (count, 4))
    boxes = box + moves * np.array([width, height, width, height])
    return np.clip(boxes, 0, [shape[1], shape[0]] * 2).astype(np.float32)


def box_iou(boxes: Tensor, target: Tensor) -> Tensor:
    """``(n,)`` IoU of ``(n, 4)`` boxes with one of ``(4,)``."""
    sides = (torch.minimum(boxes[:, 2:], target[2:]) - torch.maximum(boxes[:, :2], target[:2])).clamp_min(0)
    shared = sides.prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1)
    return shared / (areas + (target[2:] - target[:2]).prod() - shared)


def choose_positives(correct: Tensor, ious: Tensor, ladder: Sequence[float], most: int | None, lower: bool = False
                     ) -> tuple[Tensor, float]:
    """Positive proposals of one object, §5.3.3.

    Args:
        correct: ``(n,)`` bool, the predicted class is the object's.
        ious: ``(n,)`` of the predicted box with the object's.
        ladder: Thresholds, tried until more than ``most`` proposals pass.
        most: Number kept, the first ones; None: all.
        lower: Where none passes, go on below the ladder until one does.

    Returns:
        Their numbers, and the threshold; 0 if none passes.
    """
    chosen, used = correct.nonzero()[:0, 0], 0.
    for used in ladder:
        chosen = (correct & (ious > used)).nonzero()[:, 0]
        if most is not None and len(chosen) > most:
            break
    for below in _LOWER if lower and not len(chosen) else ():
        chosen, used = (correct & (ious > below)).nonzero()[:, 0], below
        if len(chosen):
            break
    return chosen[:most], float(used) if len(chosen) else 0.


def object_stride(area: float, stride: Sequence[float] | float) -> float:
    """Pixels per cell, s(a) = s_0 + s_1 sqrt(a) of §5.4.1; a number stands for itself.

    Args:
        area: The box's part of the image, a.
        stride: s_0 and s_1, or a fixed s.
    """
    if isinstance(stride, int | float):
        return float(stride)
    return stride[0] + stride[1] * math.sqrt(area)


def grid_shape(shape: tuple[int, int], stride: float, ceil: bool = False) -> tuple[int, int]:
    """Rows and columns of a mask, at least one each; the published code rounds down, the dissertation up."""
    return tuple(max(1, math.ceil(side / stride) if ceil else int(side / stride)) for side in shape)  # type: ignore


def initial_mask(boxes: Tensor, stride: float, grid: tuple[int, int]) -> Tensor:
    """1 in the cells of the predicted boxes' union, 0 elsewhere.

    Cells are ``int(coordinate / stride)``, the end excluded, as in the published code. Where that leaves a box without
    any it takes those that it touches.

    Args:
        boxes: ``(n, 4)`` in pixels of the input, not clipped.
        stride: Pixels per cell.
        grid: Rows and columns.

    Returns:
        ``(rows, columns)`` float32.
    """
    inside = []
    for axis, cells in ((1, grid[0]), (0, grid[1])):
        start, end = boxes[:, axis] / stride, boxes[:, axis + 2] / stride
        first, last = start.floor(), end.floor()
        last = torch.where(last > first, last, torch.maximum(end.ceil(), first + 1))
        # a grid rounded down leaves a rest of the image to its last cell
        first, last = first.clamp(0, cells - 1), last.clamp(1, cells)
        number = torch.arange(cells, device=boxes.device)
        inside.append((number >= first[:, None]) & (number < last[:, None]))
    rows, columns = (x.float() for x in inside)
    return (rows.T @ columns > 0).float()


def crop_window(boxes: Tensor, target: Tensor, margin: int, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a window around boxes; its start is a multiple of 32, its sides of 64.

    Args:
        boxes: ``(n, 4)``, all of which it holds, within the image.
        target: ``(4,)`` the object's box; the margin is at least a quarter of its longer side.
        margin: In pixels of the input.
        shape: Height and width of the input; the window may go beyond, where the image is continued by its mean.
    """
    margin = max(margin, round(float((target[2:] - target[:2]).max()) / 4))
    window = []
    for axis, full in ((1, shape[0]), (0, shape[1])):
        start = max(0, int(boxes[:, axis].min()) - margin) // 32 * 32
        end = min(full, int(boxes[:, axis + 2].max()) + 1 + margin)
        window.append((start, max(64, -(-(end - start) // 64) * 64)))
    (top, height), (left, width) = window
    return top, left, height, width
