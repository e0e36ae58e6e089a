"""COCO's run-length encoding of masks: written, and read without trusting it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from wsss_mm.errors import ConfigError, DataError


def encode_masks(masks: np.ndarray) -> list[dict[str, Any]]:
    """COCO's run lengths of masks, ``counts`` as text, as JSON and mmdet want them.

    Args:
        masks: ``(N, H, W)`` bool.

    Returns:
        N of ``dict(size=[height, width], counts=…)``.

    Raises:
        ConfigError: pycocotools is not installed.
    """
    if not len(masks):
        return []
    encoded = mask_api().encode(np.asfortranarray(np.asarray(masks, bool).transpose(1, 2, 0), np.uint8))
    return [dict(size=[int(side) for side in e['size']], counts=e['counts'].decode('ascii')) for e in encoded]


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """:func:`encode_masks` of one mask, ``(H, W)`` bool."""
    return encode_masks(np.asarray(mask)[None])[0]


def mask_api() -> ModuleType:
    """``pycocotools.mask``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ConfigError(f'instances need pycocotools, and it cannot be imported ({error})',
                          fix='pip install pycocotools; labels without instances: wsss_mm.IRNLabels') from None
    return mask


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The mask of a COCO run-length encoding, compressed (``counts`` a string) or not (a list).

    Runs go down the columns, background first. The string holds each count in groups of five bits, lowest first, with a
    sixth bit that says whether more follow; from the fourth count on it is the difference to the one before the last.

    Args:
        segmentation: ``dict(size=[height, width], counts=…)``.
        height, width: The image's size.

    Returns:
        ``(H, W)`` bool.

    Raises:
        DataError: no such encoding, of another size, or runs that do not fill the image exactly.
    """
    if not isinstance(segmentation, dict) or not {'size', 'counts'} <= segmentation.keys():
        raise DataError(f'segmentation of the type {type(segmentation).__name__}',
                        expected='a run-length encoding, {"size": [height, width], "counts": …}; no polygons')
    size = segmentation['size']
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise DataError(f'mask of the size {size}, the image has {[height, width]} (height, width)',
                        expected='masks of that very image')
    counts = segmentation['counts']
    if isinstance(counts, (str, bytes)):
        runs = _decompress(counts.encode('latin1', 'replace') if isinstance(counts, str) else counts)
    else:
        try:
            runs = np.asarray(counts)
        except ValueError:   # lists within the list
            runs = np.zeros(1)
        if runs.ndim != 1 or runs.dtype.kind not in 'iu':
            raise DataError('counts that are no list of whole numbers', expected='run lengths, background first')
    # each is bounded before they are added up, which could overflow
    if len(runs) == 0 or runs.min() < 0 or runs.max() > height * width or int(runs.sum()) != height * width:
        raise DataError(f'run lengths that do not add up to {height} x {width} pixels', expected='one mask, whole')
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return mask.reshape(width, height).T


def _decompress(text: bytes) -> np.ndarray:
    """Counts of a compressed encoding, without a loop over its characters."""
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise DataError('counts that are no compressed run lengths, or cut short',
                        expected="what pycocotools' encode writes")
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if place.max() > 9:   # 50 bits; COCO's own are of 32
        raise DataError('counts with a number of more than 50 bits', expected="what pycocotools' encode writes")
    numbers = np.add.reduceat((codes & 31) << 5 * place, first)
    negative = codes[last] & 16 != 0   # the highest bit of the last group is the sign
    numbers -= np.where(negative, np.int64(1) << 5 * (last - first + 1), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
