"""Reading what is scored: id lists, label maps, boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsss_mm.datasets import label_readers
from wsss_mm.errors import DataError


def read_ids(*paths: str | Path) -> list[str]:
    """Image ids of one or more list files, in order, each once.

    Raises:
        DataError: a missing or empty file.
    """
    return list(dict.fromkeys(i for path in paths for i in label_readers.read_id_list(path)))


def read_scored_map(path: str | Path, num_classes: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """A label map that may be scored, ``(H, W)`` uint8 segmentation ids.

    Args:
        path: Palette or grey PNG.
        num_classes: Ids must be below it, or 255.
        size: ``(height, width)`` it must have.

    Raises:
        DataError: missing, unreadable, in colour, of another size, or with an id outside the classes.
    """
    label = label_readers.read_label_map(path)
    if size is not None and label.shape != tuple(size):
        raise DataError(f'size is {label.shape[1]} x {label.shape[0]} (width x height)', file=path,
                        expected=f'{size[1]} x {size[0]}, the size of its image')
    found = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
    strange = found[(found >= num_classes) & (found != label_readers.IGNORED)].tolist()
    if strange:
        raise DataError(f'class ids {strange}', file=path, expected=f'0…{num_classes - 1}, or 255 for ignored',
                        fix='check that the labels and the class set belong together')
    return label


def read_boxes(path: str | Path, classes: Sequence[str], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of a VOC annotation as whole pixels, read as VOC defines them (1-based, inclusive).

    Args:
        path: The XML file.
        classes: Names, background first.
        size: ``(height, width)`` of the image.

    Returns:
        ``(K, 4)`` int64 ``x1, y1, x2, y2``, half-open, inside the image, at least one pixel; ``(K,)`` int64
        segmentation ids.

    Raises:
        DataError: see ``read_voc_xml``.
    """
    found = label_readers.read_voc_xml(path, {name: i for i, name in enumerate(classes) if i}, 'exact', 'clip')
    limit = np.array(size[::-1])
    low = np.floor(found.boxes[:, :2]).astype(np.int64).clip(0, limit - 1)
    high = np.maximum(np.ceil(found.boxes[:, 2:]).astype(np.int64).clip(0, limit), low + 1)
    return np.concatenate([low, high], 1), found.labels
