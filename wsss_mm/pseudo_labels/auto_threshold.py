"""The background threshold of class maps, chosen without ground truth.

:func:`choose_threshold` looks at the scores of the best class alone, pooled over all images: their mean, or Otsu's
split, the best known, which is mostly too high. These fit maps such as CAM gives them, each class divided by its
maximum, and stray where scores are bent by a power. :func:`colour_threshold` asks at which threshold the contour of
the labels parts the colours of the images best. It uses nothing but the order of the scores, so that any increasing
function of them gives the same labels, but takes sharp maps for granted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from wsss_mm.datasets.label_readers import find_image, read_image
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.structures import ClassMaps


def score_histogram(map_dir: str | Path, ids: Sequence[str], bins: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Pixels by the score of their best class, over all images with a class map. One pass, O(K H W) an image.

    Args:
        map_dir: Folder of ``<image id>.npz``.
        ids: Image ids; those without maps are passed over.
        bins: Number of equal bins of [0, 1].

    Returns:
        ``counts`` ``(bins,)`` int64 and ``edges`` ``(bins + 1,)`` float64.

    Raises:
        DataError: no map at all, or one that is unreadable.
    """
    counts = np.zeros(bins, np.int64)
    for _, level in _levels(map_dir, ids, bins):
        counts += np.bincount(level, minlength=bins)
    return counts, np.linspace(0, 1, bins + 1)


def choose_threshold(counts: np.ndarray, edges: np.ndarray, method: str = 'mean') -> float:
    """A threshold from a histogram of scores; O(B).

    ``'mean'``: the mean score. ``'otsu'``: the split of the largest variance between the sides.

    Args:
        counts: ``(B,)`` pixels per bin.
        edges: ``(B + 1,)`` bounds of the bins, >= 0.
        method: One of :data:`METHODS`.

    Raises:
        ConfigError: an unknown method, or a histogram with fewer than two filled bins.
    """
    if method not in METHODS:
        raise ConfigError(f'threshold method {method!r}', expected=f'one of {", ".join(METHODS)}')
    counts, edges = np.asarray(counts, np.float64), np.asarray(edges, np.float64)
    if np.count_nonzero(counts) < 2:
        raise ConfigError('all scores fall into one bin: there is nothing to separate', expected='class maps in [0, 1]')
    return METHODS[method](counts / counts.sum(), edges)


def colour_threshold(map_dir: str | Path, image_dir: str | Path, ids: Sequence[str], bins: int = 256) -> float:
    """The threshold at which foreground and background differ most in colour.

    Maximises the mean over images of the share of an image's colour variance (RGB) that lies between the two sides:
    Otsu's criterion on the colours of the image, with the sides parted by the class maps. Classes are not told apart.

    For all thresholds at once, from sums of colours per bin of the score: O((K + 3) H W) an image and O(B). Naive:
    O(B H W).

    Args:
        map_dir: Folder of ``<image id>.npz``.
        image_dir: Folder of ``<image id>.jpg``, ``.png`` or ``.jpeg``.
        ids: Image ids; those without maps are passed over.
        bins: Candidates are the ``bins - 1`` inner bounds of equal bins of [0, 1].

    Raises:
        DataError: no map at all, a file that is missing or unreadable, an image of another size than its maps say.
        ConfigError: every image is of one colour, or of one score.
    """
    total = np.zeros(bins - 1)
    for found, level in _levels(map_dir, ids, bins):
        path = find_image(image_dir, found.image_id)
        image = read_image(path)
        if image.shape[:2] != (found.height, found.width):
            raise DataError('is {} x {} pixels (height x width), its class maps are of {} x {}'.format(
                *image.shape[:2], found.height, found.width), file=path, expected='the image the maps were made of')
        total += _parted(image.reshape(-1, 3), level, bins)
    if not total.any():
        raise ConfigError('no threshold parts any colours', expected='images and class maps that vary')
    return _middle(total, np.linspace(0, 1, bins + 1))


def _parted(colours: np.ndarray, level: np.ndarray, bins: int) -> np.ndarray:
    """Share of the colours' variance between levels up to b and those above, for b = 0 … bins - 2."""
    centred = colours - colours.mean(0)
    variance = (centred ** 2).sum()
    if not variance:
        return np.zeros(bins - 1)
    above = _from_above(np.bincount(level, minlength=bins))
    sums = [_from_above(np.bincount(level, channel, bins)) for channel in centred.T]
    # With centred colours both sides' sums are opposite, so the squares add up to s^2 / n + s^2 / (N - n).
    both = above * (len(level) - above) / len(level)
    return np.divide(np.square(sums).sum(0), both * variance, out=np.zeros(bins - 1), where=both > 0)


def _from_above(values: np.ndarray) -> np.ndarray:
    return np.cumsum(values[:0:-1])[::-1]


def _levels(map_dir: str | Path, ids: Sequence[str], bins: int) -> Iterator[tuple[ClassMaps, np.ndarray]]:
    """The maps of each image that has some, and its pixels' bins, ``(H W,)``."""
    seen = False
    for image_id in ids:
        path = Path(map_dir) / f'{image_id}.npz'
        if path.is_file() and len((found := ClassMaps.load(path).full_size()).maps):
            seen = True
            yield found, np.clip(found.maps.max(0).ravel() * bins, 0, bins - 1).astype(np.intp)
    if not seen:
        raise DataError('no class maps of the listed images', file=map_dir, expected='<image id>.npz',
                        fix='save them first (save_maps=True), or name another folder')


def _middle(quality: np.ndarray, edges: np.ndarray) -> float:
    """The inner edge of the highest quality; the middle of a plateau, which an empty valley gives."""
    return float(edges[1:-1][quality == quality.max()].mean())


def _mean(share: np.ndarray, edges: np.ndarray) -> float:
    return float((share * (edges[1:] + edges[:-1]) / 2).sum())


def _otsu(share: np.ndarray, edges: np.ndarray) -> float:
    centred = (edges[1:] + edges[:-1]) / 2 - _mean(share, edges)
    high, high_sum = _from_above(share), _from_above(share * centred)
    both = high * (1 - high)
    return _middle(np.divide(high_sum ** 2, both, out=np.zeros_like(both), where=both > 1e-12), edges)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = dict(mean=_mean, otsu=_otsu)
