"""A mask drawn after mask proposals: BBAM's refinement with MCG (dissertation, section 5.3, Eq. 5.4)."""

from __future__ import annotations

import numpy as np

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.refinement.box_prior import inside_boxes
from wsss_mm.refinement.proposals import Proposals
from wsss_mm.registry import TASK_UTILS

# What the published code has in the place of "is a subset of", and the area of the smallest box that it refines.
PERCENT_INSIDE = 95
MIN_BOX_AREA = 32 ** 2


def refine_masks(masks: np.ndarray, boxes: np.ndarray, proposals: Proposals, official: bool = True) -> np.ndarray:
    """Refine the masks T of an image's objects with its proposals m_i (Eq. 5.4).

    ``T_r`` is the union of the proposal that has the highest IoU with T (of equal ones the first) and of all that are
    contained in T. The published rule (``official=True``) differs from the paper's in these:

    - boxes below 32² pixels keep their mask;
    - proposals with a superpixel that lies wholly outside the box are left out;
    - the best is one of those with more than 95 % of their pixels inside the box;
    - contained are those with more than 95 % of their pixels inside T;
    - the result is cut off at the box.

    All pixels are counted exactly. The published code adds up the indices of the pixels in the place of their number,
    so that its IoU weighs pixels by their position, and for a single mask its second set is always empty; neither is
    reproduced, nor offered. A proposal without a pixel in common with T is no best one; where there is no best one, T
    stays.

    Per object, a histogram of its pixels over the S superpixels and a sparse product with the membership, against K
    images for K proposals as masks.

    Args:
        masks: ``(N, H, W)`` bool, T of each object.
        boxes: ``(N, 4)``, ``x1, y1, x2, y2`` in pixels, half-open; fractions are cut off, as published.
        proposals: Of this image.
        official: False for the rule as the paper writes it, which does not look at the boxes.

    Returns:
        ``(N, H, W)`` bool.

    Raises:
        DataError: masks of another size than the proposals', or not as many boxes.
    """
    masks, boxes = np.asarray(masks, bool), np.asarray(boxes)
    if boxes.shape != (len(masks), 4):
        raise DataError(f'boxes {boxes.shape} for {len(masks)} masks', expected='(N, 4), one for each mask')
    counts = proposals.counts(masks)
    inside = proposals.sums(counts)
    areas = proposals.areas
    union = counts.sum(1, keepdims=True) + areas - inside
    usable = np.broadcast_to(areas > 0, inside.shape)
    window = np.ones((len(masks), *proposals.shape), bool)
    if official:
        window = inside_boxes(np.trunc(boxes).astype(np.int64), proposals.shape)
        in_box = proposals.counts(window)
        usable = usable & (proposals.sums((in_box == 0) & (proposals.superpixel_areas > 0)) == 0)
        usable &= (window.sum((1, 2)) >= MIN_BOX_AREA)[:, None]
        # whole numbers on both sides: 19 of 20 pixels are not more than 95 %
        candidates = usable & (100 * proposals.sums(in_box) > PERCENT_INSIDE * areas)
        contained = usable & (100 * inside > PERCENT_INSIDE * areas)
    else:
        candidates, contained = usable, usable & (inside == areas)
    refined = masks.copy()
    if len(proposals) == 0:
        return refined
    iou = np.where(candidates, inside / np.maximum(union, 1), 0)
    best = iou.argmax(1)
    for n in np.flatnonzero(iou.max(1) > 0):   # one union each, which writes H·W pixels
        contained[n, best[n]] = True
        refined[n] = proposals.union(np.flatnonzero(contained[n])) & window[n]
    return refined


def refine_mask(mask: np.ndarray, box: np.ndarray, proposals: Proposals, official: bool = True) -> np.ndarray:
    """:func:`refine_masks` of one object, ``(H, W)`` bool with its box ``(4,)``."""
    return refine_masks(np.asarray(mask)[None], np.asarray(box)[None], proposals, official)[0]


def refine_pairs(sure: np.ndarray, possible: np.ndarray, boxes: np.ndarray, proposals: Proposals,
                 official: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Refine BBAM's two masks of each object: sure foreground, and all that may be foreground.

    Args:
        sure: ``(N, H, W)`` bool, from the threshold of the foreground.
        possible: ``(N, H, W)`` bool, from the threshold of the background; what lies outside is background.
        boxes, proposals, official: As of :func:`refine_masks`.

    Returns:
        Both refined, the second with the first added, as published, so that no pixel is both sure and background.

    Raises:
        DataError: as :func:`refine_masks`.
    """
    sure = refine_masks(sure, boxes, proposals, official)
    return sure, refine_masks(possible, boxes, proposals, official) | sure


@TASK_UTILS.register_module()
class ProposalRefiner:
    """Masks of objects, some of their pixels ignored, refined by an image's mask proposals (:func:`refine_pairs`).

    A mask that would lose all its sure pixels stays as it is.

    Args:
        proposals: Config of a source of proposals: :class:`~wsss_mm.refinement.MaskProposals`, which reads MCG's files
            and others, or :class:`~wsss_mm.refinement.HierarchyProposals`, which makes them.
        rule: ``'official'``, the published code's, or ``'paper'``; see :func:`refine_masks`.

    Raises:
        ConfigError: another rule.
    """

    def __init__(self, proposals: dict, rule: str = 'official') -> None:
        if rule not in ('official', 'paper'):
            raise ConfigError(f'ProposalRefiner: rule={rule!r}', expected="'official' or 'paper'")
        self.proposals, self.rule = TASK_UTILS.build(proposals), rule

    def fingerprint(self) -> dict[str, str]:
        """What the proposals are made of beside the image."""
        return {f'proposals {name}': value for name, value in self.proposals.fingerprint().items()}

    def __call__(self, image_id: str, image: np.ndarray, masks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Refine the masks of an image's objects.

        Args:
            image_id: By which the proposals are found.
            image: ``(H, W, 3)`` uint8 RGB.
            masks: ``(N, H, W)`` uint8: 0 background, 1 object, 2 ignored.
            boxes: ``(N, 4)`` in pixels, half-open.

        Returns:
            ``(N, H, W)`` uint8, with the same three values.

        Raises:
            DataError: no proposals of this image, or of one of another size.
        """
        if not len(masks):
            return masks
        sure, possible = refine_pairs(masks == 1, masks > 0, boxes, self.proposals(image_id, image),
                                      self.rule == 'official')
        refined = np.where(sure, 1, np.where(possible, 2, 0)).astype(np.uint8)
        return np.where(np.any(sure, axis=(1, 2), keepdims=True), refined, masks)
