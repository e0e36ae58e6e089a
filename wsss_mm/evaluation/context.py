"""How much of a class map lies on the context that comes with the class: a boat's on water, a train's on rails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wsss_mm.datasets.label_readers import read_label_map
from wsss_mm.errors import DataError
from wsss_mm.structures import ClassMaps


def context_share(maps: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Share of each map's mass on the context.

    Args:
        maps: ``(K, H, W)``, 0 or more.
        context: ``(H, W)`` bool, background of the kind that comes with the classes.

    Returns:
        ``(K,)`` float64 in [0, 1]; NaN for a map without mass.

    Raises:
        ValueError: sizes differ, or a map is negative somewhere.
    """
    if maps.shape[1:] != context.shape:
        raise ValueError(f'maps of {maps.shape[1:]} pixels, context of {context.shape}')
    if (maps < 0).any():
        raise ValueError('a map is negative, expected maps in [0, 1]')
    mass = maps.sum((1, 2), dtype=np.float64)
    on_context = (maps * context).sum((1, 2), dtype=np.float64)
    return np.divide(on_context, mass, out=np.full(len(maps), np.nan), where=mass > 0)


def evaluate_context(map_dir: str | Path, context_dir: str | Path, ids: Sequence[str], classes: Mapping[str, int]
                     ) -> dict[str, dict[str, float | int | None]]:
    """Mean context share of saved class maps, over the images that show the class and its context.

    On toy VOC the masks of water and rails are in ``ToyExtra/Context``. In its splits train and val of the profiles
    ``tags`` and ``biased``, an image with a boat or a train has that class's own context or none, so the mask alone
    says what is its context.

    Args:
        map_dir: Files ``<id>.npz`` of a labelling run.
        context_dir: Files ``<id>.png``, 8-bit grey, above 0 on the context, objects left out.
        ids: Image ids.
        classes: Segmentation id of each class that has a context, by name.

    Returns:
        For each name ``share`` in percent, None without such an image, and ``images``.

    Raises:
        DataError: no ids, files that are missing or unreadable, or of different sizes.
    """
    if not len(ids):
        raise DataError('no image ids to score', file=map_dir, expected='at least one')
    shares: dict[int, list[float]] = {class_id: [] for class_id in classes.values()}
    for image_id in ids:
        found = ClassMaps.load(Path(map_dir) / f'{image_id}.npz')
        wanted = np.isin(found.class_ids, list(shares))
        if not wanted.any():
            continue
        context = read_label_map(Path(context_dir) / f'{image_id}.png') > 0
        if context.shape != (found.height, found.width):
            raise DataError(f'context of {context.shape} pixels for maps of {(found.height, found.width)}',
                            file=Path(context_dir) / f'{image_id}.png', expected='masks of the same images')
        if context.any():
            for class_id, share in zip(found.class_ids[wanted],
                                       context_share(found.full_size().maps[wanted], context), strict=True):
                shares[int(class_id)] += [] if np.isnan(share) else [float(share)]
    return {name: dict(share=100 * float(np.mean(shares[i])) if shares[i] else None, images=len(shares[i]))
            for name, i in classes.items()}
