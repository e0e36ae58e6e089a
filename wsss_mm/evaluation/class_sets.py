"""Names and colours of the classes that are scored and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmseg.datasets import PascalVOCDataset

from wsss_mm.datasets import WeakCOCODataset
from wsss_mm.datasets.toy_voc import TOY_CLASSES, TOY_PALETTE
from wsss_mm.datasets.toy_voc.writer import voc_palette
from wsss_mm.errors import ConfigError, DataError


class ClassSet(NamedTuple):
    """Classes in the order of their segmentation ids, background first.

    Attributes:
        names: One name per id.
        palette: ``(C, 3)`` uint8 RGB.
    """

    names: tuple[str, ...]
    palette: np.ndarray


def resolve_classes(classes: str | Path | Sequence[str]) -> ClassSet:
    """Classes from ``'voc'``, ``'coco'``, ``'toy'``, a text file (a name per line, background first) or the names.

    Raises:
        ConfigError: none of these names, and no file.
        DataError: a file with fewer than two names, or with a name twice.
    """
    if not isinstance(classes, (str, Path)):
        return ClassSet(tuple(classes), voc_palette()[:len(classes)])
    if classes == 'voc':
        return ClassSet(tuple(PascalVOCDataset.METAINFO['classes']),
                        np.array(PascalVOCDataset.METAINFO['palette'], np.uint8))
    if classes == 'coco':
        return ClassSet(tuple(WeakCOCODataset.METAINFO['classes']),
                        np.array(WeakCOCODataset.METAINFO['palette'], np.uint8))
    if classes == 'toy':
        return ClassSet(tuple(TOY_CLASSES), np.array(TOY_PALETTE, np.uint8))
    path = Path(classes)
    if not path.is_file():
        raise ConfigError(f'classes {str(classes)!r} is neither a known set nor a file',
                          expected="'voc', 'coco', 'toy' or a text file",
                          fix='write the class names into a text file, one per line, background first')
    names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if len(names) < 2 or len(set(names)) < len(names) or len(names) > 255:
        raise DataError(f'{len(names)} names, {len(set(names))} of them different', file=path,
                        expected='2 to 255 different names, one per line, background first')
    return ClassSet(tuple(names), voc_palette()[:len(names)])
