"""Class maps against ground truth at every background threshold at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss_mm.errors import DataError
from wsss_mm.evaluation.files import read_scored_map
from wsss_mm.structures import ClassMaps

MEANS = ('miou', 'precision', 'recall', 'f1')


class ThresholdCurve:
    """Scores of class maps whose background is a constant plane, for all of its values.

    A pixel is labelled with its best class where that score is above the threshold t, else as background: the arg max
    over the plane of value t and the class maps, where ties go to the background, then to the class named first
    (the seed evaluation of IRN, AdvCAM, AEFT and VWE). Scores and thresholds are compared in float32, as there.

    Since the plane is constant, it is enough to count the pixels by true class, best class and number of thresholds
    below the best score. Naive: for each of T thresholds an arg max over K + 1 maps and a confusion matrix, O(T K H W).
    Here: O((K + log T) H W) once, and O(T C^2) for the scores of all images.

    Counts are int64: merging shards gives the very same numbers as one pass.

    Args:
        num_classes: Number of classes C with the background, at most ``ignore_index``.
        thresholds: Increasing, as far as float32 can tell; default 0, .01 … 1.
        ignore_index: Truth that never counts.

    Attributes:
        thresholds: ``(T,)`` float64.
        counts: ``(C, C, T + 1)`` int64: pixels by true class, best class (0: the image has no class map) and number of
            thresholds below the best score.

    Raises:
        ValueError: thresholds that do not increase, or too many classes.
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float] | np.ndarray | None = None,
                 ignore_index: int = 255) -> None:
        if not 0 < num_classes <= ignore_index <= 255:
            raise ValueError(f'num_classes={num_classes}, ignore_index={ignore_index}: expected '
                             '0 < num_classes <= ignore_index <= 255')
        self.thresholds = np.arange(101) / 100 if thresholds is None else np.asarray(thresholds, np.float64)
        self._rounded = self.thresholds.astype(np.float32)
        if self.thresholds.ndim != 1 or not self.thresholds.size or not (np.diff(self._rounded) > 0).all() \
                or np.isnan(self.thresholds).any():
            raise ValueError(f'thresholds {self.thresholds}: expected one or more increasing numbers')
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts = np.zeros((num_classes, num_classes, len(self.thresholds) + 1), np.int64)
        # True class -> row of an image's table; the last two rows are ignored and unknown truth.
        self._rows = np.full(256, num_classes + 1, np.intp)
        self._rows[:num_classes], self._rows[ignore_index] = np.arange(num_classes), num_classes

    def update(self, maps: np.ndarray, class_ids: Sequence[int] | np.ndarray, truth: np.ndarray) -> ThresholdCurve:
        """Count one image and return ``self``; see :meth:`count`."""
        return self.add(self.count(maps, class_ids, truth))

    def count(self, maps: np.ndarray, class_ids: Sequence[int] | np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The pixels of one image, for :meth:`add`; small enough to be sent between processes.

        Args:
            maps: ``(K, H, W)`` scores of the classes present; K may be 0.
            class_ids: ``(K,)`` their different segmentation ids, 1…C - 1.
            truth: ``(H, W)`` integer segmentation ids, ``ignore_index`` allowed.

        Returns:
            ``(2, n)`` int64: positions in :attr:`counts`, flattened, and how many pixels fall there.

        Raises:
            ValueError: shapes that do not fit together, ids outside the classes or twice, a score that is NaN.
        """
        maps, truth = np.asarray(maps, np.float32), np.asarray(truth)
        ids = np.asarray(class_ids, np.int64).reshape(-1)
        if maps.shape != (len(ids), *truth.shape) or truth.ndim != 2:
            raise ValueError(f'maps {maps.shape} of {len(ids)} classes for a truth of {truth.shape}: expected '
                             '(K, H, W), (K,) and (H, W)')
        if len(np.unique(ids)) < len(ids) or (ids < 1).any() or (ids >= self.num_classes).any():
            raise ValueError(f'class ids {ids.tolist()}: expected different ones of 1…{self.num_classes - 1}')
        if truth.dtype.kind not in 'iu' or truth.size and not 0 <= truth.min() <= truth.max() <= 255:
            raise ValueError(f'truth is {truth.dtype}, expected ids 0…{self.num_classes - 1} and {self.ignore_index}')
        rows, levels = self._rows[truth.astype(np.uint8, copy=False).ravel()], self.counts.shape[2]
        if len(ids):
            best = maps[0] if len(ids) == 1 else maps.max(0)
            if np.isnan(best).any():
                raise ValueError('a score is NaN')
            place = rows * len(ids)
            if len(ids) > 1:
                place += maps.argmax(0).ravel()
            place = place * levels + np.searchsorted(self._rounded, best.ravel())
        else:
            ids, place = np.zeros(1, np.int64), rows * levels
        table = np.bincount(place, minlength=(self.num_classes + 2) * len(ids) * levels)
        table = table.reshape(self.num_classes + 2, len(ids), levels)
        if table[-1].any():
            strange = np.setdiff1d(truth, [*range(self.num_classes), self.ignore_index]).tolist()
            raise ValueError(f'truth holds the ids {strange}, expected 0…{self.num_classes - 1} and '
                             f'{self.ignore_index}')
        row, column, level = np.nonzero(table[:self.num_classes])
        return np.stack([np.ravel_multi_index((row, ids[column], level), self.counts.shape),
                         table[row, column, level]]).astype(np.int64)

    def add(self, pixels: np.ndarray) -> ThresholdCurve:
        """Add what :meth:`count` gave for an image and return ``self``."""
        self.counts.reshape(-1)[pixels[0]] += pixels[1]   # positions of one image are different
        return self

    def merge(self, other: ThresholdCurve) -> ThresholdCurve:
        """Add another curve's counts and return ``self``.

        Raises:
            ValueError: the other has other classes or thresholds.
        """
        if (other.num_classes, other.ignore_index) != (self.num_classes, self.ignore_index):
            raise ValueError(f'cannot merge a curve of {other.num_classes} classes into one of {self.num_classes}')
        if not np.array_equal(other.thresholds, self.thresholds):
            raise ValueError('cannot merge curves of different thresholds')
        self.counts += other.counts
        return self

    def confusion(self) -> np.ndarray:
        """``(T, C, C)`` int64: at each threshold, pixels by true class (row) and predicted class (column)."""
        named = np.cumsum(self.counts[..., :0:-1], -1)[..., ::-1].transpose(2, 0, 1).copy()
        named[:, :, 0] = 0
        named[:, :, 0] = self.counts.sum((1, 2)) - named.sum(2)
        return named

    def iou(self) -> np.ndarray:
        """``(T, C)`` intersection / (truth + prediction - intersection); NaN for a class that is in neither."""
        return self.scores()['iou']

    def scores(self, foreground: bool = False) -> dict[str, np.ndarray]:
        """Everything at every threshold, in [0, 1].

        The means are over classes, all images pooled. A class counts for the mean of a score where that score is
        defined: it is in truth or prediction (IoU), in the prediction (precision), in the truth (recall). F1 is the
        harmonic mean of mean precision and mean recall, as in the printed tables of W-OoD.

        Args:
            foreground: Leave the background out of the means.

        Returns:
            ``iou``, ``class_precision``, ``class_recall`` ``(T, C)``, and the means ``miou``, ``precision``,
            ``recall``, ``f1`` ``(T,)``.
        """
        confusion = self.confusion()
        hits, truth, said = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(2), confusion.sum(1)
        found = dict(iou=_ratio(hits, truth + said - hits), class_precision=_ratio(hits, said),
                     class_recall=_ratio(hits, truth))
        for name, of in zip(MEANS, found.copy(), strict=False):
            found[name] = _mean(found[of][:, int(foreground):])
        precision, recall = found['precision'], found['recall']
        found['f1'] = _ratio(2 * precision * recall, precision + recall)
        return found

    def best(self) -> int:
        """Index of the threshold of the highest mIoU, the lowest of equals.

        Raises:
            ValueError: nothing was counted.
        """
        miou = self.scores()['miou']
        if np.isnan(miou).all():
            raise ValueError('no pixel was counted')
        return int(np.nanargmax(miou))

    def nearest(self, threshold: float) -> int:
        """Index of the threshold next to a value."""
        return int(np.abs(self.thresholds - threshold).argmin())

    def table(self, marks: Mapping[str, float] | None = None) -> str:
        """A Markdown table in percent: about twenty thresholds, and those nearest to the marks with their names.

        Args:
            marks: Thresholds by name, as ``{'best': .17}``.
        """
        step = max(1, len(self.thresholds) // 20)
        names: dict[int, list[str]] = {i: [] for i in range(0, len(self.thresholds), step)}
        for name, threshold in (marks or {}).items():
            names.setdefault(self.nearest(threshold), []).append(name)
        scores, foreground = self.scores(), self.scores(foreground=True)
        columns = [scores[name] for name in MEANS] + [foreground['miou'], scores['miou'] - np.nanmax(scores['miou'])]
        width = max(map(len, [*(marks or ()), 'chosen by']))
        lines = ['| threshold |  mIoU | precision | recall |    F1 | mIoU of foreground | to the best | '
                 f'{"chosen by":{width}} |',
                 '|----------:|------:|----------:|-------:|------:|-------------------:|------------:|'
                 f'{"-" * (width + 2)}|']
        for i in sorted(names):
            cells = ['–' if np.isnan(c[i]) else f'{100 * c[i] + 0.:.1f}' for c in columns]
            lines.append(f'| {self.thresholds[i]:9.2f} | ' + ' | '.join(
                cell.rjust(n) for cell, n in zip(cells, (5, 9, 6, 5, 18, 11), strict=True))
                + f' | {", ".join(names[i]):{width}} |')
        return '\n'.join(lines)

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """The curve in percent as JSON types, None where a score is undefined.

        Args:
            classes: Names, background first.
        """
        everything, foreground = self.scores(), self.scores(foreground=True)
        return dict(
            unit='percent', thresholds=self.thresholds.tolist(),
            **{name: _percent(everything[name]) for name in MEANS},
            foreground={name: _percent(foreground[name]) for name in MEANS},
            classes={c: {name: _percent(everything[of][:, i]) for name, of in (
                ('iou', 'iou'), ('precision', 'class_precision'), ('recall', 'class_recall'))}
                for i, c in enumerate(classes)})


def evaluate_class_maps(map_dir: str | Path, truth_dir: str | Path, ids: Sequence[str], classes: Sequence[str], *,
                        thresholds: Sequence[float] | np.ndarray | None = None,
                        progress: Callable[[], None] | None = None) -> ThresholdCurve:
    """The curve of a folder of :class:`~wsss_mm.structures.ClassMaps`; maps smaller than the image are enlarged.

    Curves of parts of the ids, made in several processes, merge to the same counts.

    Args:
        map_dir: Folder of ``<image id>.npz``, one for every id.
        truth_dir: Folder of ``<image id>.png``.
        ids: Image ids.
        classes: Names, background first.
        thresholds: As of :class:`ThresholdCurve`.
        progress: Called after each image.

    Raises:
        DataError: a file that is missing or unreadable, a truth of another size than its maps say, ids outside the
            classes; no id at all.
    """
    maps_of, truth_of = Path(map_dir), Path(truth_dir)
    if not ids:
        raise DataError('no image ids to score', file=maps_of, expected='at least one')
    missing = [i for i in ids if not (maps_of / f'{i}.npz').is_file()]
    if missing:
        raise DataError(f'{len(missing)} of {len(ids)} class maps are missing: '
                        f'{", ".join(f"{i}.npz" for i in missing[:3])}{" …" if len(missing) > 3 else ""}',
                        file=maps_of, expected='an .npz for every listed image id',
                        fix='finish the run that saves them (save_maps=True), or score another list of ids')
    curve = ThresholdCurve(len(classes), thresholds)
    for image_id in ids:
        path = maps_of / f'{image_id}.npz'
        found = ClassMaps.load(path).full_size()
        truth = read_scored_map(truth_of / f'{image_id}.png', len(classes), (found.height, found.width))
        try:
            curve.update(found.maps, found.class_ids, truth)
        except ValueError as error:
            raise DataError(str(error), file=path, fix='check that maps and class set belong together') from None
        if progress:
            progress()
    return curve


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0).sum(1), there.sum(1))


def _percent(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else 100 * float(v) for v in values]
