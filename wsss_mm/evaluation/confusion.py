"""Counts of (true class, predicted class) pixels, and the scores made from them."""

from __future__ import annotations

import numpy as np


class ConfusionMatrix:
    """Counts pixels by true and predicted class; exact in int64, so shards merge without any rounding.

    Pixels whose truth is ``ignore_index`` never count. Pixels whose *prediction* is ``ignore_index`` (a pseudo label
    may say "ignored") are counted in a column of their own. The scores leave them out by default; such a score rates
    only the pixels that the labels dared to name and is not comparable with one over all pixels, so look at
    :attr:`ignored_share` beside it, or ask for ``ignored_as_missed=True``, which is what mmseg's ``IoUMetric`` does.

    Cost per image: one ``bincount`` over the pixels (2-byte codes), no mask and no loop over classes.

    Args:
        num_classes: Number of classes C with the background, at most ``ignore_index``.
        ignore_index: Id of ignored pixels in both maps.

    Attributes:
        counts: ``(C, C + 1)`` int64, row true class, column predicted class; the last column predicted "ignored".
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        if not 0 < num_classes <= ignore_index <= 255:
            raise ValueError(f'num_classes={num_classes}, ignore_index={ignore_index}: expected '
                             '0 < num_classes <= ignore_index <= 255')
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> ConfusionMatrix:
        """Count one image (or any arrays of equal shape) and return ``self``.

        Args:
            prediction: Integer class ids, ``ignore_index`` allowed.
            truth: Integer class ids of the same shape, ``ignore_index`` allowed.

        Raises:
            ValueError: shapes differ, the arrays hold no integers, or an id is outside the classes.
        """
        prediction, truth = np.asarray(prediction), np.asarray(truth)
        if prediction.shape != truth.shape:
            raise ValueError(f'prediction {prediction.shape} and truth {truth.shape} differ in shape')
        codes = self._bytes(truth, 'truth').astype(np.uint16) << 8 | self._bytes(prediction, 'prediction')
        table = np.bincount(codes.ravel(), minlength=1 << 16).reshape(256, 256)
        known = np.arange(256) < self.num_classes
        known[self.ignore_index] = True
        for name, totals in (('truth', table.sum(1)), ('prediction', table.sum(0))):
            if totals[~known].any():
                raise ValueError(f'{name} holds the ids {np.flatnonzero((totals > 0) & ~known).tolist()}, expected '
                                 f'0…{self.num_classes - 1} and {self.ignore_index}')
        self.counts[:, :-1] += table[:self.num_classes, :self.num_classes]
        self.counts[:, -1] += table[:self.num_classes, self.ignore_index]
        return self

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add another matrix's counts and return ``self``.

        Raises:
            ValueError: the other has other classes.
        """
        if (other.num_classes, other.ignore_index) != (self.num_classes, self.ignore_index):
            raise ValueError(f'cannot merge {other.num_classes} classes into {self.num_classes}')
        self.counts += other.counts
        return self

    def iou(self, ignored_as_missed: bool = False) -> np.ndarray:
        """IoU per class, ``(C,)`` float64 in [0, 1]: intersection / (truth + prediction - intersection).

        NaN for a class that is in neither; 0 for one that is in one of them only.

        Args:
            ignored_as_missed: Count pixels that the prediction ignores as wrong, instead of leaving them out.
        """
        truth = self.counts.sum(1) if ignored_as_missed else self._square.sum(1)
        return _ratio(self._hits, truth + self._square.sum(0) - self._hits)

    def miou(self, ignored_as_missed: bool = False) -> float:
        """Mean IoU over the classes present in truth or prediction; NaN when there is none."""
        return _mean(self.iou(ignored_as_missed))

    def precision(self) -> np.ndarray:
        """Share of the pixels predicted as a class that are of it, ``(C,)``; NaN where never predicted."""
        return _ratio(self._hits, self._square.sum(0))

    def recall(self) -> np.ndarray:
        """Share of a class's pixels that are predicted as it, ``(C,)``, ignored predictions left out; NaN if absent."""
        return _ratio(self._hits, self._square.sum(1))

    def pixel_accuracy(self) -> float:
        """Share of correct pixels among those that count; NaN when there is none."""
        return float(_ratio(self._hits.sum(), self._square.sum()))

    @property
    def ignored_share(self) -> float:
        """Share of the pixels with a true class that the prediction ignores; NaN when there is none."""
        return float(_ratio(self.counts[:, -1].sum(), self.counts.sum()))

    @property
    def _square(self) -> np.ndarray:
        return self.counts[:, :-1]

    @property
    def _hits(self) -> np.ndarray:
        return np.diagonal(self._square)

    def _bytes(self, ids: np.ndarray, name: str) -> np.ndarray:
        if ids.dtype == np.uint8:
            return ids
        if ids.dtype.kind not in 'iu':
            raise ValueError(f'{name} is {ids.dtype}, expected integer class ids')
        if ids.size and (ids.min() < 0 or ids.max() > 255):
            raise ValueError(f'{name} holds ids from {ids.min()} to {ids.max()}, expected '
                             f'0…{self.num_classes - 1} and {self.ignore_index}')
        return ids.astype(np.uint8)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float('nan')
