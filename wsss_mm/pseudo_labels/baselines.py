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
        x1, y1, x2, y2 = (int(v) for v in box)
        area = (y2 - y1) * (x2 - x1)
        filled = np.ones((y2 - y1, x2 - x1), bool)
        if min(area, sample.height * sample.width - area) < _GAUSSIANS:
            notes.append(f'box {number} filled: too few pixels inside or outside it for GrabCut')
            return filled
        # The seed depends on the image alone, so a box's result depends on neither order nor other boxes.
        cv2.setRNGSeed(zlib.crc32(sample.image_id.encode()) & 0x7fffffff)
        mask = np.zeros(sample.image.shape[:2], np.uint8)
        cv2.grabCut(np.ascontiguousarray(sample.image[..., ::-1]), mask, (x1, y1, x2 - x1, y2 - y1),
                    np.zeros((1, 65)), np.zeros((1, 65)), self.iterations, cv2.GC_INIT_WITH_RECT)
        found = mask[y1:y2, x1:x2] == cv2.GC_PR_FGD
        if found.sum() < self.min_share * area:
            notes.append(f'box {number} filled: GrabCut found {found.sum() / area:.1%} of it')
            return filled
        return found
