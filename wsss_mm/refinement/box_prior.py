"""Masks from a box alone: the box as a prior in a dense CRF, and the inner part of a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsss_mm.refinement.dense_crf import PreparedCRF

# The published code's: priors tried in turn, the cut of the posterior, and the part of the box that is enough.
PRIORS = (.7, .8, .9, .95)
CUT = .9
ENOUGH = 1 / 5


def box_prior_masks(crf: PreparedCRF, boxes: np.ndarray, size: tuple[int, int], priors: Sequence[float] = PRIORS,
                    cut: float = CUT, enough: float = ENOUGH) -> tuple[np.ndarray, np.ndarray]:
    """BBAM's masks of objects that have no attribution: a prior in the box, 0 outside, refined by the CRF.

    Priors are tried in turn until more than ``enough`` of the box has a posterior above ``cut``.

    Args:
        crf: Prepared for the image.
        boxes: ``(N, 4)`` int64 whole pixels, half-open.
        size: Height and width of the image.
        priors: Probabilities of the object in its box.
        cut: Threshold of the posterior.
        enough: A part of the box's area.

    Returns:
        ``(N, H, W)`` bool, and ``(N,)`` bool, whether a prior was enough; where none was, the last one's mask.
    """
    inside = inside_boxes(boxes, size)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    masks, accepted = np.zeros_like(inside), np.zeros(len(boxes), bool)
    for prior in priors:
        left = np.flatnonzero(~accepted)
        if not len(left):
            break
        masks[left] = crf.refine_objects(np.float32(prior) * inside[left]) > cut
        accepted[left] = masks[left].sum((1, 2)) > enough * areas[left]
    return masks, accepted


def fallback_masks(crf: PreparedCRF, boxes: np.ndarray, size: tuple[int, int], priors: Sequence[float] = PRIORS,
                   cut: float = CUT, enough: float = ENOUGH) -> tuple[np.ndarray, list[str]]:
    """Masks of objects of which nothing but the box is known: :func:`box_prior_masks`, else :func:`inner_boxes`.

    The published code leaves an object without a mask where no prior is enough, and gives the image's later objects
    the masks of others.

    Args:
        crf, boxes, size, priors, cut, enough: As of :func:`box_prior_masks`.

    Returns:
        ``(N, H, W)`` uint8: 0 background, 1 object, at least a pixel, 2 ignored; and N of ``'box_prior'`` and
        ``'box_inner'``.
    """
    masks, accepted = box_prior_masks(crf, boxes, size, priors, cut, enough)
    chosen = np.where(accepted[:, None, None], masks, inner_boxes(boxes, size)).astype(np.uint8)
    return chosen, ['box_prior' if good else 'box_inner' for good in accepted.tolist()]


def inner_boxes(boxes: np.ndarray, size: tuple[int, int], part: float = .6) -> np.ndarray:
    """The inner part of each box as its object, the rest of the box ignored.

    Args:
        boxes: ``(N, 4)`` int64 whole pixels, half-open.
        size: Height and width of the image.
        part: Of the box's width and of its height.

    Returns:
        ``(N, H, W)`` uint8: 0 background, 1 object, at least a pixel, 2 ignored.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    inner = np.maximum(np.round(part * sides).astype(np.int64), 1)
    low = boxes[:, :2] + (sides - inner) // 2
    masks = 2 * inside_boxes(boxes, size).astype(np.uint8)
    masks[inside_boxes(np.concatenate([low, low + inner], 1), size)] = 1
    return masks


def inside_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(N, H, W)`` bool, the pixels of each of ``boxes (N, 4)`` int64, half-open."""
    x1, y1, x2, y2 = np.asarray(boxes).reshape(-1, 4).T[..., None]
    y, x = (np.arange(side) for side in size)
    return ((y1 <= y) & (y < y2))[:, :, None] & ((x1 <= x) & (x < x2))[:, None, :]
