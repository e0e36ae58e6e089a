"""Masks of single objects from their attribution maps: BBAM (dissertation, section 5.3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization import pixel_boxes
from wsss_mm.refinement.box_prior import CUT, ENOUGH, PRIORS, fallback_masks, inside_boxes
from wsss_mm.refinement.dense_crf import PreparedCRF
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ObjectMaps, ObjectMasks

_AT_ONCE = 16
MASK_PRESETS: dict[str, dict] = dict(
    official=dict(thresholds='area', fg_threshold=.85, bg_threshold=.2, blur=(16, 48)),
    paper=dict(thresholds='value', fg_threshold=.8, bg_threshold=.2, blur=None))


@TASK_UTILS.register_module()
class MaskBuilder:
    """Objects, background and what lies between from attribution maps and the image.

    ``preset='official'``, the published code: a map m, 0 outside its box, is divided by the value that the part
    ``1 - threshold`` of the box's area exceeds, cut at 1, blurred, stretched to [0, 1], and refined by a CRF as
    ``[m, 1 - m]``; the mask is where the posterior exceeds ``cut``. A threshold thus is a *part of the box*, no value.
    This is done twice: with ``fg_threshold`` (.85: 15 % of the box are certain before the CRF) for the object, with
    ``bg_threshold`` (.2: 80 %) for all that may be object; what only the second mask has is ignored. A mask is accepted
    if it has more than a fifth of the box's area (``enough``), or the box more than a tenth of the image's
    (``large``). Otherwise the CRF runs again on a prior of .7, .8 … (``retries``) in the box, 1 on the mask, 0
    outside, until a mask has more than a third of the box (``retry_enough``); the last one stays.

    ``preset='paper'``: the posterior of the map itself is cut at the values ``fg_threshold`` (.8), above which lies the
    object, and ``bg_threshold`` (.2), below which the background. No blur and no retries.

    With either, objects without a map, or whose mask has no pixel, get one of their box
    (:func:`~wsss_mm.refinement.box_prior.fallback_masks`).

    Naively each of the two masks of each of N objects is a CRF of its own, lattice included. Here the image's lattices
    are built once; all objects' maps are filtered together, with one channel for each (the background's is 1 less
    that); each round of retries is one such pass for those that need it. What is left, one filter per mask and
    update, is the floor (``benchmarks/results/instance_masks.md``).

    Args:
        preset: ``'official'`` or ``'paper'``: values of the next four, where these are not given.
        thresholds: ``'area'`` or ``'value'``, see above.
        fg_threshold, bg_threshold: See above.
        blur: ``(smallest, added)``: a standard deviation of ``int(smallest + added * sqrt(a))`` pixels for a box with
            the part a of the image, (16, 48) as published, for images of some 500 pixels; for others change it in
            proportion. ``()`` does not blur.
        cut: Threshold of the posterior, with ``thresholds='area'``.
        enough, large, retries, retry_enough: See above.
        priors: Of the box, for objects without a map.
        exclusive: True gives a pixel of several objects to the one with the higher attribution there, of equal ones to
            the smaller box, then the first. An object that loses all gets a mask of its box, which may overlap.
        crf: Config of the CRF, by default ``dict(type='wsss_mm.DenseCRF', preset='bbam')``.

    Raises:
        ConfigError: an unknown preset, or thresholds that are not in [0, 1].
    """

    def __init__(self, preset: str = 'official', thresholds: str | None = None, fg_threshold: float | None = None,
                 bg_threshold: float | None = None, blur: Sequence[float] | None = None, cut: float = CUT,
                 enough: float = ENOUGH, large: float = 1 / 10, retries: Sequence[float] = (.7, .8, .9, .95, .96),
                 retry_enough: float = 1 / 3, priors: Sequence[float] = PRIORS, exclusive: bool = False,
                 crf: dict | None = None) -> None:
        if preset not in MASK_PRESETS:
            raise ConfigError(f'MaskBuilder preset={preset!r}', expected=' or '.join(MASK_PRESETS))
        given = dict(thresholds=thresholds, fg_threshold=fg_threshold, bg_threshold=bg_threshold, blur=blur)
        settings = {**MASK_PRESETS[preset], **{k: v for k, v in given.items() if v is not None}}
        self.by_area = settings['thresholds'] == 'area'
        self.fg_threshold, self.bg_threshold = settings['fg_threshold'], settings['bg_threshold']
        self.blur = tuple(settings['blur'] or ())
        if settings['thresholds'] not in ('area', 'value'):
            raise ConfigError(f'MaskBuilder thresholds={thresholds!r}', expected="'area' or 'value'")
        if not 0 <= self.bg_threshold <= self.fg_threshold <= 1:
            raise ConfigError(f'MaskBuilder fg_threshold={self.fg_threshold}, bg_threshold={self.bg_threshold}',
                              expected='0 <= bg_threshold <= fg_threshold <= 1')
        if len(self.blur) not in (0, 2):
            raise ConfigError(f'MaskBuilder blur={blur}', expected='(smallest, added) in pixels')
        self.cut, self.enough, self.large = cut, enough, large
        self.retries, self.retry_enough = tuple(retries), retry_enough
        self.priors, self.exclusive = tuple(priors), exclusive
        self.crf = TASK_UTILS.build(crf or dict(type='wsss_mm.DenseCRF', preset='bbam'))

    def __call__(self, image: np.ndarray, maps: ObjectMaps) -> ObjectMasks:
        """Masks of an image's objects.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            maps: Of this image.

        Returns:
            Masks in the order of the maps, of each at least a pixel, but none of boxes that lie outside the image
            (``'invalid'``). Other statuses are ``'ok'``, ``'retried'``, ``'box_prior'``, ``'box_inner'``; details are
            ``explained``, the map's status, ``positives`` and ``iterations``.

        Raises:
            DataError: the image is of another size than the maps'.
        """
        size = (maps.height, maps.width)
        if image.shape[:2] != size:
            raise DataError(f'an image of {image.shape[0]} x {image.shape[1]} pixels for the maps of {maps.image_id}',
                            expected=f'{size[0]} x {size[1]} (height x width)')
        boxes = pixel_boxes(torch.from_numpy(np.asarray(maps.boxes, np.float32)), *size).numpy()
        attributions = np.zeros((len(maps), *size), np.float32)
        for n, status in enumerate(maps.statuses):   # maps have grids of different sizes
            if status not in ('no_positive', 'all_zero', 'invalid', 'diverged'):
                attributions[n] = attribution(maps.full_size(n), boxes[n])
        masks = np.zeros((len(maps), *size), np.uint8)
        statuses = np.full(len(maps), 'invalid', object)
        valid = np.array([status != 'invalid' for status in maps.statuses], bool)
        if valid.any():
            crf = self.crf.prepare(image)
            find = self._by_area if self.by_area else self._by_value
            for some in _groups(np.any(attributions, axis=(1, 2))):
                masks[some], statuses[some] = find(crf, attributions[some], boxes[some])
            if self.exclusive:
                masks = exclude(masks, attributions, boxes)
            for some in _groups(valid & ~np.any(masks == 1, axis=(1, 2))):
                masks[some], statuses[some] = fallback_masks(crf, boxes[some], size, self.priors, self.cut, self.enough)
        details = [dict(explained=status, positives=int(p), iterations=int(i))
                   for status, p, i in zip(maps.statuses, maps.positives, maps.iterations, strict=True)]
        return ObjectMasks(masks, maps.ids, maps.boxes, maps.labels, statuses.tolist(), details=details)

    def _by_value(self, crf: PreparedCRF, maps: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cut the posterior at two values; see the class."""
        posterior = crf.refine_objects(np.stack([self._blurred(m, box) for m, box in zip(maps, boxes, strict=True)]))
        masks = np.where(posterior > self.fg_threshold, 1, np.where(posterior >= self.bg_threshold, 2, 0))
        return masks.astype(np.uint8), np.full(len(maps), 'ok', object)

    def _by_area(self, crf: PreparedCRF, maps: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two masks of each object by its parts of the box; see the class."""
        priors = np.stack([self._blurred(saturate(m, box, threshold), box)
                           for threshold in (self.fg_threshold, self.bg_threshold)
                           for m, box in zip(maps, boxes, strict=True)])
        found, retried = self._grow(crf, crf.refine_objects(priors) > self.cut, np.concatenate([boxes, boxes]))
        sure, possible = np.split(found, 2)
        statuses = np.where(retried[:len(maps)], 'retried', 'ok').astype(object)
        return np.where(sure, 1, np.where(possible, 2, 0)).astype(np.uint8), statuses

    def _blurred(self, values: np.ndarray, box: np.ndarray) -> np.ndarray:
        if not self.blur:
            return values
        part = (box[2:] - box[:2]).prod() / values.size
        return blur_in_box(values, box, int(self.blur[0] + self.blur[1] * np.sqrt(part)))

    def _grow(self, crf: PreparedCRF, masks: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Retries of masks that are too small, all of a round together; the masks, and which were retried."""
        size = masks.shape[1:]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        retried = (masks.sum((1, 2)) <= self.enough * areas) & (areas <= self.large * size[0] * size[1])
        left = np.flatnonzero(retried)
        first, inside = masks[left].copy(), inside_boxes(boxes[left], size)
        open_ = np.ones(len(left), bool)
        for prior in self.retries:
            if not open_.any():
                break
            start = np.where(first[open_], np.float32(1), np.float32(prior) * inside[open_])
            masks[left[open_]] = crf.refine_objects(start) > self.cut
            open_ = open_ & (masks[left].sum((1, 2)) <= self.retry_enough * areas[left])
        return masks, retried


def _groups(chosen: np.ndarray) -> list[np.ndarray]:
    """Numbers of the chosen objects, some at a time: COCO has images with 90 of them."""
    numbers = np.flatnonzero(chosen)
    return [numbers[i:i + _AT_ONCE] for i in range(0, len(numbers), _AT_ONCE)]


def attribution(full: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A map ``(H, W)``, its lowest value subtracted, divided by its highest, 0 outside ``box (4,)`` int64."""
    x1, y1, x2, y2 = box
    highest = full.max()
    result = np.zeros_like(full)
    if highest > 0:
        result[y1:y2, x1:x2] = (full[y1:y2, x1:x2] - full.min()) / highest
    return result


def saturate(values: np.ndarray, box: np.ndarray, threshold: float) -> np.ndarray:
    """Divide a map by the value that the part ``1 - threshold`` of the box's area exceeds, and cut at 1.

    The published code sorts the whole image; values outside the box are 0, so a partition of the box's is enough.

    Args:
        values: ``(H, W)`` float32 in [0, 1], 0 outside the box.
        box: ``(4,)`` int64, whole pixels, half-open.
        threshold: In [0, 1].

    Returns:
        ``(H, W)`` float32.
    """
    x1, y1, x2, y2 = box
    inside = values[y1:y2, x1:x2]
    rank = min(int(inside.size * (1 - threshold)), inside.size - 1)   # of the descending order
    value = np.partition(inside.ravel(), inside.size - 1 - rank)[inside.size - 1 - rank]
    return np.clip(values / (value + np.float32(1e-8)), 0, 1)


def blur_in_box(values: np.ndarray, box: np.ndarray, sigma: int) -> np.ndarray:
    """Gaussian blur of a map that is 0 outside its box, 0 there again, stretched to [0, 1].

    The kernel has ``2 sigma + 1`` pixels. A window of the box and ``sigma`` pixels around it gives exactly what the
    whole image gives.

    Args:
        values: ``(H, W)`` float32.
        box: ``(4,)`` int64, whole pixels, half-open.
        sigma: In pixels; 0 does not blur.

    Returns:
        ``(H, W)`` float32.
    """
    height, width = values.shape
    x1, y1, x2, y2 = (int(v) for v in box)
    left, top = max(x1 - sigma, 0), max(y1 - sigma, 0)
    window = values[top:min(y2 + sigma, height), left:min(x2 + sigma, width)]
    if sigma:
        window = cv2.GaussianBlur(np.ascontiguousarray(window), (2 * sigma + 1, 2 * sigma + 1), sigma)
    result = np.zeros_like(values)
    result[y1:y2, x1:x2] = window[y1 - top:y2 - top, x1 - left:x2 - left]
    highest = result.max()
    return (result - result.min()) / highest if highest > 0 else result


def exclude(masks: np.ndarray, attributions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Leave each pixel of several objects to one: the highest attribution, then the smallest box, then the first.

    Args:
        masks: ``(N, H, W)`` uint8, 1 for the object.
        attributions: ``(N, H, W)`` float32.
        boxes: ``(N, 4)`` int64.

    Returns:
        ``(N, H, W)`` uint8; what an object loses is its background.
    """
    if not len(masks):
        return masks
    order = np.argsort((boxes[:, 2:] - boxes[:, :2]).prod(1), kind='stable')
    sure = masks[order] == 1
    winner = order[np.where(sure, attributions[order], -1).argmax(0)]
    lost = (masks == 1) & (winner != np.arange(len(masks))[:, None, None])
    return np.where(lost, 0, masks).astype(np.uint8)
