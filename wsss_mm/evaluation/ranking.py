"""How well a map ranks the pixels of an object above the others: area under the ROC curve (AUC).

A threshold-free look at maps before the CRF, which hides most of their differences: u_c should be higher on the
object than beside it, u_0 (or the attention A) higher on background than on objects, both inside boxes, where alone
the labels are in doubt. 50 % is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wsss_mm.evaluation.files import read_boxes, read_scored_map
from wsss_mm.structures import ClassMaps


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """P(score of a positive > score of a negative) + P(equal) / 2, exact by ranks (Mann-Whitney U).

    Naive: all pairs, O(P·N). Here: one sort, O((P + N) log(P + N)).

    Args:
        scores: Numbers of any shape.
        positive: Booleans of the same shape.

    Returns:
        In [0, 1]; NaN when there is no positive or no negative.

    Raises:
        ValueError: shapes differ, or a score is NaN.
    """
    scores, positive = np.asarray(scores).ravel(), np.asarray(positive, bool).ravel()
    if scores.shape != positive.shape:
        raise ValueError(f'{scores.size} scores for {positive.size} pixels')
    if scores.dtype.kind == 'f' and np.isnan(scores).any():
        raise ValueError('a score is NaN')
    values, where = np.unique(scores, return_inverse=True)
    total = np.bincount(where.ravel(), minlength=values.size)
    above = np.bincount(where.ravel()[positive], minlength=values.size)
    return _auc_of_counts(total - above, above)


class MapAUC:
    """AUC pooled over many images in constant memory.

    Maps are saved as float16, which has fewer than 2^15 values >= 0, ordered as their bits: counting pixels per
    value keeps the pooled AUC exact for saved maps, whatever their number (other values are rounded to float16).
    """

    def __init__(self) -> None:
        self.counts = np.zeros((2, 1 << 15), np.int64)

    def update(self, scores: np.ndarray, positive: np.ndarray) -> None:
        """Count pixels.

        Args:
            scores: Numbers >= 0 of any shape.
            positive: Booleans of the same shape.

        Raises:
            ValueError: a score is negative or NaN.
        """
        scores = np.asarray(scores)
        if not (scores >= 0).all():
            raise ValueError('a score is negative or NaN, expected maps in [0, 1]')
        bits = (scores.astype(np.float16) + np.float16(0)).view(np.uint16)   # + 0 turns -0 into 0
        for row, chosen in enumerate((~positive, positive)):
            self.counts[row] += np.bincount(bits[chosen], minlength=1 << 15)

    def value(self) -> float:
        """The AUC in [0, 1]; NaN when there is no positive or no negative."""
        return _auc_of_counts(*self.counts)


def evaluate_maps(map_dir: str | Path, truth_dir: str | Path, box_dir: str | Path, ids: Sequence[str],
                  classes: Sequence[str], progress: Callable[[], None] | None = None) -> dict[str, float | int | None]:
    """AUC, in percent, of saved :class:`ClassMaps` inside the boxes, pooled over the images that have maps.

    Pixels ignored in the truth never count. A map smaller than its image is enlarged bilinearly.

    Args:
        map_dir: Folder of ``<image id>.npz``.
        truth_dir: Folder of ``<image id>.png``.
        box_dir: Folder of VOC annotations ``<image id>.xml``.
        ids: Image ids; those without maps are passed over.
        classes: Names, background first.
        progress: Called after each image.

    Returns:
        ``class_maps``: u_c, its own class against the rest, inside the boxes of that class.
        ``background``: u_0, background against objects, inside all boxes; None where no map has it.
        ``images``: how many were read.

    Raises:
        DataError: an unreadable file, or a truth of another size than its maps say.
    """
    own, ground, images = MapAUC(), MapAUC(), 0
    for image_id in ids:
        path = Path(map_dir) / f'{image_id}.npz'
        if path.is_file():
            maps = ClassMaps.load(path).full_size()
            truth = read_scored_map(Path(truth_dir) / f'{image_id}.png', len(classes), (maps.height, maps.width))
            boxes, labels = read_boxes(Path(box_dir) / f'{image_id}.xml', classes, truth.shape)
            _add_image(maps, truth, boxes, labels, own, ground)
            images += 1
        if progress:
            progress()
    percent = [None if np.isnan(x.value()) else 100 * x.value() for x in (own, ground)]
    return dict(class_maps=percent[0], background=percent[1], images=images)


def _add_image(maps: ClassMaps, truth: np.ndarray, boxes: np.ndarray, labels: np.ndarray, own: MapAUC,
               ground: MapAUC) -> None:
    counted = truth != 255
    anywhere = np.zeros(truth.shape, bool)
    for class_id in np.unique(labels):
        inside = np.zeros(truth.shape, bool)
        for x1, y1, x2, y2 in boxes[labels == class_id]:   # a handful of slice writes
            inside[y1:y2, x1:x2] = True
        anywhere |= inside
        inside &= counted
        at = np.flatnonzero(maps.class_ids == class_id)
        if at.size:
            own.update(maps.maps[at[0]][inside], truth[inside] == class_id)
    anywhere &= counted
    if maps.background is not None:
        ground.update(maps.background[anywhere], truth[anywhere] == 0)


def _auc_of_counts(negative: np.ndarray, positive: np.ndarray) -> float:
    pairs = int(negative.sum()) * int(positive.sum())
    if not pairs:
        return float('nan')
    below = np.cumsum(negative) - negative
    # Twice the wins, as whole numbers: exact up to 2^63 pairs.
    return int((positive * (2 * below + negative)).sum()) / (2 * pairs)
