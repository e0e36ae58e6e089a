"""Attribution maps of objects against their true masks, without a maker of masks between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from wsss_mm.errors import DataError
from wsss_mm.evaluation import coco_files
from wsss_mm.run_lengths import mask_api
from wsss_mm.structures import ObjectMaps

THRESHOLDS = tuple(np.linspace(.05, .95, 19).round(2))


@dataclass
class ObjectMapScores:
    """Scores of attribution maps, an entry per true object that has a map.

    Attributes:
        ids: ``(N,)`` annotation ids.
        areas: ``(N,)`` pixels of the true masks.
        statuses: ``(N,)`` of the maps, ``'ok'`` and others.
        thresholds: ``(T,)``.
        ious: ``(N, T)`` in [0, 1]: of the pixels of the box whose value, divided by the highest there, is at or above a
            threshold, with the true mask.
        radii: ``(N,)`` mean relative radius (:func:`relative_radius`) of the pixels of high value; NaN without one.
        on_object, in_box: ``(N,)`` share of these pixels on the true mask, and in the box; NaN without one.
    """

    ids: np.ndarray
    areas: np.ndarray
    statuses: np.ndarray
    thresholds: np.ndarray
    ious: np.ndarray
    radii: np.ndarray
    on_object: np.ndarray
    in_box: np.ndarray

    def best(self) -> int:
        """Number of the threshold of the highest mean IoU, the first of equals."""
        return int(self.ious.mean(0).argmax())


def score_object_maps(map_dir: str | Path, truth: str | Path, *, ids: Sequence[str] | None = None,
                      thresholds: Sequence[float] = THRESHOLDS, high: float = .9) -> ObjectMapScores:
    """Score ``<image id>.npz`` (:class:`~wsss_mm.structures.ObjectMaps`) against a COCO file of true masks.

    All thresholds come out of one count of the values by level: H x W per object, and T sums. Naive: H x W for each
    threshold.

    Args:
        map_dir: ``objects`` of a run of :class:`~wsss_mm.pseudo_labels.ExplainBoxes`.
        truth: The COCO file, with the same annotation ids.
        ids: Image ids to score; None: all of the truth.
        thresholds: Rising.
        high: Values above it are called high, of the map as it is.

    Raises:
        DataError: a file that is missing or does not fit; no object with a map.
        ConfigError: pycocotools is not installed.
    """
    true = coco_files.read_truth(truth)
    chosen = coco_files.choose_images(true, ids, truth)
    images = {i['id']: i for i in true['images']}
    by_image: dict[str, list] = {}
    for a in true['annotations']:
        if not a['iscrowd'] and a['image_id'] in chosen:
            by_image.setdefault(chosen[a['image_id']], []).append(a)
    levels, rows = np.asarray(thresholds), []
    for image_id, objects in by_image.items():
        maps = ObjectMaps.load(Path(map_dir) / f'{image_id}.npz')
        place = {int(number): i for i, number in enumerate(maps.ids)}
        for a in objects:
            if a['id'] not in place:
                continue
            mask = mask_api().decode(coco_files.run_lengths_of(a, images[a['image_id']], truth)).astype(bool)
            if mask.shape != (maps.height, maps.width):
                raise DataError(f'maps of an image of {(maps.height, maps.width)}', file=Path(map_dir) / image_id,
                                expected=f'{mask.shape}, as the truth')
            number = place[a['id']]
            rows.append((a['id'], mask.sum(), maps.statuses[number],
                         *_score(maps.full_size(number), maps.boxes[number], mask, levels, high)))
    if not rows:
        raise DataError('no object of the truth has a map', file=map_dir, expected='maps of the same annotation ids')
    numbers, areas, statuses, ious, radii, on_object, in_box = map(np.array, zip(*rows, strict=True))
    return ObjectMapScores(numbers, areas, statuses, levels, ious, radii, on_object, in_box)


def relative_radius(mask: np.ndarray) -> np.ndarray:
    """How far each pixel is from the middle of an object to its contour (dissertation, Figure 5.6 a).

    ``r_1 / (r_1 + r_2)``: r_1 the distance to the contour's centroid, r_2 to the nearest pixel of the contour. 1 on the
    contour, 0 at the centroid; below 1 also outside.

    Args:
        mask: ``(H, W)`` bool, not empty. Its contour are its pixels with one of 4 neighbours outside it.

    Returns:
        ``(H, W)`` float64.
    """
    contour = mask & ~ndimage.binary_erosion(mask)
    y, x = np.nonzero(contour)
    rows, columns = np.indices(mask.shape)
    inner = np.hypot(rows - y.mean(), columns - x.mean())
    outer = ndimage.distance_transform_edt(~contour)
    return np.divide(inner, inner + outer, out=np.ones(mask.shape), where=inner + outer > 0)


def _score(values: np.ndarray, box: np.ndarray, mask: np.ndarray, levels: np.ndarray, high: float
           ) -> tuple[np.ndarray, float, float, float]:
    x1, y1 = np.floor(box[:2]).astype(int).clip(0)
    x2, y2 = np.ceil(box[2:]).astype(int)
    inside = np.zeros(mask.shape, bool)
    inside[y1:y2, x1:x2] = True
    top = values[inside].max(initial=0.)
    level = np.searchsorted(levels, values[inside] / top if top > 0 else np.zeros(inside.sum()), side='right')
    # pixels of the box at or above each threshold, on the object and at all
    hits, said = (np.bincount(level[of], minlength=len(levels) + 1)[:0:-1].cumsum()[::-1]
                  for of in (mask[inside], slice(None)))
    found = values > high
    if not found.any():
        return hits / (mask.sum() + said - hits), np.nan, np.nan, np.nan
    return (hits / (mask.sum() + said - hits), float(relative_radius(mask)[found].mean()), float(mask[found].mean()),
            float(inside[found].mean()))
