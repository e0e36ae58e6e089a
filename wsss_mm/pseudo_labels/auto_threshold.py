"""The background threshold of class maps without ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.structures import ClassMaps


def load_full_size(path: str | Path) -> ClassMaps:
    """Class maps from their file, enlarged bilinearly to the image's size where they are smaller.

    Raises:
        DataError: see :meth:`ClassMaps.load`.
    """
    found = ClassMaps.load(path)
    size = (found.height, found.width)
    if found.maps.shape[1:] != size:
        enlarged = [np.asarray(Image.fromarray(m).resize(size[::-1], Image.Resampling.BILINEAR)) for m in found.maps]
        found.maps = np.stack(enlarged) if enlarged else np.zeros((0, *size), np.float32)
    return found


def score_histogram(map_dir: str | Path, ids: Sequence[str], bins: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Pixels by the score of their best class, over all images with a class map.

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
    for image_id in ids:
        path = Path(map_dir) / f'{image_id}.npz'
        if path.is_file() and len(maps := load_full_size(path).maps):
            best = maps.max(0)
            place = np.minimum((best.ravel() * bins).astype(np.intp), bins - 1)
            counts += np.bincount(place, minlength=bins)
    if not counts.any():
        raise DataError('no class maps of the listed images', file=map_dir, expected='<image id>.npz',
                        fix='save them first (save_maps=True), or name another folder')
    return counts, np.linspace(0, 1, bins + 1)


def choose_threshold(counts: np.ndarray, edges: np.ndarray, method: str = 'otsu') -> float:
    """A threshold from a histogram of scores.

    Args:
        counts: ``(B,)`` pixels per bin.
        edges: ``(B + 1,)`` bounds of the bins.
        method: One of :data:`METHODS`.

    Raises:
        ConfigError: an unknown method, or a histogram with fewer than two filled bins.
    """
    if method not in METHODS:
        raise ConfigError(f'threshold method {method!r}', expected=f'one of {sorted(METHODS)}')
    counts, edges = np.asarray(counts, np.float64), np.asarray(edges, np.float64)
    if np.count_nonzero(counts) < 2:
        raise ConfigError('all scores fall into one bin: there is nothing to separate', expected='class maps in [0, 1]')
    share = counts / counts.sum()
    quality = METHODS[method](share, (edges[1:] + edges[:-1]) / 2)
    best = np.flatnonzero(quality == quality.max())
    # A plateau is an empty valley: its middle.
    return float(edges[1:-1][best].mean())


def _otsu(share: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Variance between the two sides (Otsu 1979), at each inner edge."""
    low, mean = np.cumsum(share)[:-1], np.cumsum(share * centre)[:-1]
    both = low * (1 - low)
    return np.divide((mean - low * (share * centre).sum()) ** 2, both, out=np.zeros_like(both), where=both > 1e-12)


METHODS = dict(otsu=_otsu)
