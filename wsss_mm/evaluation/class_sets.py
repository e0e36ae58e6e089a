"""Names and colours of the classes that are scored and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss_mm.errors import ConfigError, DataError


class ClassSet(NamedTuple):
    """Classes in the order of their segmentation ids, background first.

    Attributes:
        names: One name per id.
        palette: ``(C, 3)`` uint8 RGB.
    """

    names: tuple[str, ...]
    palette: np.ndarray


def voc_colours(count: int) -> np.ndarray:
    """PASCAL VOC's colours of the first ``count`` ids, ``(count, 3)`` uint8.

    The bits of an id are dealt out in turn to red, green and blue, the lowest three becoming the highest bits.
    """
    ids = np.arange(count)
    shifts = np.arange(8)
    bits = (ids[:, None, None] >> (3 * shifts[None, None] + np.arange(3)[None, :, None])) & 1
    return (bits << (7 - shifts)).sum(-1).astype(np.uint8)


def resolve_classes(classes: str | Path | Sequence[str]) -> ClassSet:
    """Classes from ``'voc'``, ``'toy'``, a text file (one name per line, background first) or the names themselves.

    Raises:
        ConfigError: neither of the two names nor a file.
        DataError: a file with fewer than two names, or with a name twice.
    """
    if isinstance(classes, (list, tuple)):
        return ClassSet(tuple(classes), voc_colours(len(classes)))
    if classes == 'voc':
        from mmseg.datasets import PascalVOCDataset  # seconds to import, and needed for this answer alone
        return ClassSet(tuple(PascalVOCDataset.METAINFO['classes']),
                        np.array(PascalVOCDataset.METAINFO['palette'], np.uint8))
    if classes == 'toy':
        from wsss_mm.datasets.toy_voc import TOY_CLASSES, TOY_PALETTE
        return ClassSet(tuple(TOY_CLASSES), np.array(TOY_PALETTE, np.uint8))
    path = Path(classes)
    if not path.is_file():
        raise ConfigError(f'classes {str(classes)!r} is neither a known set nor a file', expected="'voc', 'toy' or a "
                          'text file', fix='write the class names into a text file, one per line, background first')
    names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if len(names) < 2 or len(set(names)) < len(names) or len(names) > 255:
        raise DataError(f'{len(names)} names, {len(set(names))} of them different', file=path,
                        expected='2 to 255 different names, one per line, background first')
    return ClassSet(tuple(names), voc_colours(len(names)))
