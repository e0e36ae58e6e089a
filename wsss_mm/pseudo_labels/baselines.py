"""Pseudo labels from boxes and pixels alone, the baselines of box supervision."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import torch
from torch import Tensor

from wsss_mm.localization import pixel_boxes
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult

# GrabCut fits mixtures of this many Gaussians and needs as many pixels on either side.
_GAUSSIANS = 5


class _BoxLabels(LabelGenerator):
    """Paints one object per box, larger boxes first, so that smaller ones end on top; of equal ones the first."""

    outputs = ('labels',)
    needs_model = False

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``; see the class."""
        boxes = pixel_boxes(torch.from_numpy(sample.boxes), sample.height, sample.width).numpy()
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        labels = np.zeros((sample.height, sample.width), np.uint8)
        notes: list[str] = []
        for i in np.argsort(area, kind='stable')[::-1]:
            x1, y1, x2, y2 = boxes[i]
            labels[y1:y2, x1:x2][self._object(sample, boxes[i], i, notes)] = sample.box_labels[i]
        return LabelResult(dict(labels=labels), notes)

    def _object(self, sample: ImageSample, box: np.ndarray, number: int, notes: list[str]) -> np.ndarray:
        """Bool mask of the object in its box, of the box's size; appends a note where it falls back."""
        raise NotImplementedError


@TASK_UTILS.register_module()
class BoxFillLabels(_BoxLabels):
    """Every pixel of a box is its class; smaller boxes on top of larger ones ("Box" in BANA's Table 1)."""

    def _object(self, sample: ImageSample, box: np.ndarray, number: int, notes: list[str]) -> np.ndarray:
        return np.ones((box[3] - box[1], box[2] - box[0]), bool)


@TASK_UTILS.register_module()
class GrabCutLabels(_BoxLabels):
    """GrabCut (Rother et al., 2004) in each box; smaller boxes on top of larger ones.

    A box is filled, with a note, where GrabCut finds less than ``min_share`` of it or has too few pixels inside or
    outside to fit its colour models.

    Args:
        iterations: GrabCut's rounds of fitting and cutting.
        min_share: Smallest share of the box that counts as an object.
    """

    def __init__(self, iterations: int = 5, min_share: float = .05) -> None:
        self.iterations, self.min_share = iterations, min_share

    def _object(self, sample: ImageSample, box: np.ndarray, number: int, notes: list[str]) -> np.ndarray:
        found, problem = cut_object(sample.image, box, sample.image_id, self.iterations, self.min_share)
        if problem:
            notes.append(f'box {number} filled: {problem}')
        return found


def cut_object(image: np.ndarray, box: np.ndarray, image_id: str, iterations: int = 5, min_share: float = .05,
               context: float | None = None) -> tuple[np.ndarray, str]:
    """GrabCut of the object in one box.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        box: ``(4,)`` whole pixels, ``x1, y1, x2, y2``, half-open, inside the image.
        image_id: It seeds GrabCut's draws.
        iterations, min_share: As of :class:`GrabCutLabels`.
        context: What the background is learnt from: a margin of so much of the box's sides around it, at least a
            pixel; None: all of the image outside the box.

    Returns:
        Bool mask of the box's size, and why it is the filled box, or ''.
    """
    x1, y1, x2, y2 = (int(v) for v in box)
    area = (y2 - y1) * (x2 - x1)
    filled = np.ones((y2 - y1, x2 - x1), bool)
    if context is not None:
        reach = [max(1, round(context * side)) for side in (x2 - x1, y2 - y1)]
        left, top = max(x1 - reach[0], 0), max(y1 - reach[1], 0)
        image = image[top:y2 + reach[1], left:x2 + reach[0]]
        x1, y1, x2, y2 = x1 - left, y1 - top, x2 - left, y2 - top
    if min(area, image.shape[0] * image.shape[1] - area) < _GAUSSIANS:
        return filled, 'too few pixels inside or outside it for GrabCut'
    # The seed depends on the image alone, so a box's result depends on neither order nor other boxes.
    cv2.setRNGSeed(zlib.crc32(image_id.encode()) & 0x7fffffff)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.grabCut(np.ascontiguousarray(image[..., ::-1]), mask, (x1, y1, x2 - x1, y2 - y1), np.zeros((1, 65)),
                np.zeros((1, 65)), iterations, cv2.GC_INIT_WITH_RECT)
    found = mask[y1:y2, x1:x2] == cv2.GC_PR_FGD
    if found.sum() < min_share * area:
        return filled, f'GrabCut found {found.sum() / area:.1%} of it'
    return found, ''
