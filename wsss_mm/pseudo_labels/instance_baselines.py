"""Instances from boxes and pixels alone, in the format of the explained ones: what BBAM is compared with."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization import pixel_boxes
from wsss_mm.pseudo_labels.baselines import cut_object
from wsss_mm.pseudo_labels.instance_labels import InstanceLabels
from wsss_mm.refinement import Proposals
from wsss_mm.refinement.box_prior import fallback_masks, inside_boxes
from wsss_mm.refinement.proposal_rule import PERCENT_INSIDE
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, ObjectMasks


class _BoxInstances(InstanceLabels):
    """Paints each object into its box.

    Args:
        **options: As of :class:`InstanceLabels`.
    """

    needs_model = False

    def object_masks(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]
                     ) -> ObjectMasks:
        """One mask for each box; see the class."""
        boxes = pixel_boxes(torch.from_numpy(sample.boxes), sample.height, sample.width).numpy()
        masks = np.zeros((len(boxes), sample.height, sample.width), np.uint8)
        statuses = self.paint(sample, boxes, masks)
        return ObjectMasks(masks, sample.box_ids, sample.boxes, sample.box_labels, statuses)

    @abstractmethod
    def paint(self, sample: ImageSample, boxes: np.ndarray, masks: np.ndarray) -> list[str]:
        """Fill the masks.

        Args:
            sample: The image and its boxes.
            boxes: ``(N, 4)`` int64, the whole pixels of the boxes, each at least one.
            masks: ``(N, H, W)`` uint8 of zeros, to be written to.

        Returns:
            The statuses.
        """


@TASK_UTILS.register_module()
class BoxInstances(_BoxInstances):
    """The box as the object.

    Args:
        rule: ``'fill'``, all of the box; or ``'inner'``, its middle is the object and the ring around that is ignored.
        shape: Of the middle: ``'box'``, or ``'ellipse'`` with the sides as its axes.
        share: Of the sides, which the middle has.
        **options: As of :class:`InstanceLabels`.

    Raises:
        ConfigError: another rule or shape, or a share that is not in (0, 1].
    """

    def __init__(self, rule: str = 'fill', shape: str = 'box', share: float = .8, **options: Any) -> None:
        super().__init__(**options)
        for name, value, known in (('rule', rule, ('fill', 'inner')), ('shape', shape, ('box', 'ellipse'))):
            if value not in known:
                raise ConfigError(f'BoxInstances {name}={value!r}', expected=' or '.join(map(repr, known)))
        if not 0 < share <= 1:
            raise ConfigError(f'BoxInstances share={share}', expected='above 0, at most 1')
        self.rule, self.shape, self.share = rule, shape, share

    def paint(self, sample: ImageSample, boxes: np.ndarray, masks: np.ndarray) -> list[str]:
        """See the class."""
        for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
            mask[y1:y2, x1:x2] = 1 if self.rule == 'fill' else inner_mask(y2 - y1, x2 - x1, self.shape, self.share)
        return ['box' if self.rule == 'fill' else 'inner'] * len(boxes)


def inner_mask(height: int, width: int, shape: str = 'box', share: float = .8) -> np.ndarray:
    """``(height, width)`` uint8: 1 where a pixel's middle is in the middle of the box, 2 in the ring around.

    Args:
        height, width: Of the box, in pixels.
        shape, share: As of :class:`BoxInstances`.
    """
    y = np.abs(2 * np.arange(height) + 1 - height)[:, None] / height
    x = np.abs(2 * np.arange(width) + 1 - width) / width
    distance = np.maximum(y, x) if shape == 'box' else np.hypot(y, x)
    # a box of one or two pixels has a middle of any share; rounding must not lose it
    return np.where(distance <= max(share, distance.min()) + 1e-9, 1, 2).astype(np.uint8)


@TASK_UTILS.register_module()
class GrabCutInstances(_BoxInstances):
    """GrabCut (Rother et al., 2004) in each box, with a margin around it as the background.

    Args:
        iterations: GrabCut's rounds of fitting and cutting.
        min_share: Smallest share of the box that counts as an object; below it, or with too few pixels to fit the
            colour models to, the box is filled, status ``'box'``.
        context: Margin, as a part of the box's sides; None: all of the image outside the box.
        **options: As of :class:`InstanceLabels`.
    """

    def __init__(self, iterations: int = 5, min_share: float = .05, context: float | None = .1, **options: Any) -> None:
        super().__init__(**options)
        self.iterations, self.min_share, self.context = iterations, min_share, context

    def paint(self, sample: ImageSample, boxes: np.ndarray, masks: np.ndarray) -> list[str]:
        """See the class."""
        statuses = []
        for mask, box in zip(masks, boxes, strict=True):
            x1, y1, x2, y2 = box
            found, problem = cut_object(sample.image, box, sample.image_id, self.iterations, self.min_share,
                                        self.context)
            mask[y1:y2, x1:x2] = found
            statuses.append('box' if problem else 'ok')
        return statuses


@TASK_UTILS.register_module()
class BoxCRFInstances(_BoxInstances):
    """The box as the prior of a dense CRF, .7, .8, .9, .95 in turn: what BBAM does without an attribution map.

    Where no prior leaves a fifth of the box, the object is the inner 60 % of its sides and the rest of the box is
    ignored, status ``'box_inner'``. The CRF is ``crf`` of :class:`InstanceLabels`; its lattice is made once per image,
    and all objects of an image are refined together.
    """

    def paint(self, sample: ImageSample, boxes: np.ndarray, masks: np.ndarray) -> list[str]:
        """See the class."""
        if not len(boxes):
            return []
        size = (sample.height, sample.width)
        masks[:], statuses = fallback_masks(self.crf.prepare(sample.image), boxes, size)
        return ['ok' if status == 'box_prior' else status for status in statuses]


@TASK_UTILS.register_module()
class BestProposalInstances(_BoxInstances):
    """The mask proposal that fits the box best.

    It is the one of the highest IoU with the box, of equal ones the first, among those with more than 95 % of their
    pixels inside it, cut off at the box. Where none has a pixel in the box, that is filled, status ``'box'``.

    Args:
        proposals: Config of what gives them, :class:`~wsss_mm.refinement.MaskProposals` or
            :class:`~wsss_mm.refinement.HierarchyProposals`.
        **options: As of :class:`InstanceLabels`.
    """

    def __init__(self, proposals: dict, **options: Any) -> None:
        super().__init__(**options)
        self.best_of = TASK_UTILS.build(proposals)

    def fingerprint(self) -> dict[str, str]:
        """With what the proposals are made of."""
        return {**super().fingerprint(), **{f'best of {k}': v for k, v in self.best_of.fingerprint().items()}}

    def paint(self, sample: ImageSample, boxes: np.ndarray, masks: np.ndarray) -> list[str]:
        """See the class."""
        if not len(boxes):
            return []
        proposals = self.best_of(sample.image_id, sample.image)
        window = inside_boxes(boxes, (sample.height, sample.width))
        best = best_proposals(window, proposals)
        for n, k in enumerate(best):
            masks[n] = window[n] & proposals.mask(k) if k >= 0 else window[n]
        return ['ok' if k >= 0 else 'box' for k in best]


def best_proposals(masks: np.ndarray, proposals: Proposals) -> np.ndarray:
    """The proposal of the highest IoU with each mask, among those with more than 95 % of their pixels inside it.

    N histograms over the superpixels and one sparse product, against N·K images for N masks and K proposals.

    Args:
        masks: ``(N, H, W)`` bool, such as boxes.
        proposals: Of this image.

    Returns:
        ``(N,)`` int64, -1 where there is none.
    """
    if len(proposals) == 0:
        return np.full(len(masks), -1)
    counts = proposals.counts(masks)
    inside, areas = proposals.sums(counts), proposals.areas
    union = counts.sum(1, keepdims=True) + areas - inside
    # whole numbers on both sides: 19 of 20 pixels are not more than 95 %
    iou = np.where(100 * inside > PERCENT_INSIDE * areas, inside / np.maximum(union, 1), 0)
    return np.where(iou.max(1) > 0, iou.argmax(1), -1)
