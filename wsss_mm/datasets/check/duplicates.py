"""Images that are there twice: by their bytes, and by what they look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

GRID = 16                # a hash has GRID x GRID bits
NEAR = 20                # bits that two pictures of one scene may differ in; unrelated ones differ in some 100
_STEP = 3                # grey levels between neighbours that count: noise of a plain area gives no bits
_LEAST = 24              # bits that a hash needs to tell anything
_ROWS, _COLUMNS = 512, 8192


def picture_hash(grey: np.ndarray) -> bytes | None:
    """A picture's look in 256 bits: where it gets brighter from left to right on a coarse grid.

    Small changes of size, brightness, contrast or compression change few of them.

    Args:
        grey: ``(H, W)`` uint8.

    Returns:
        32 bytes; None for a picture that is too plain to be told from others.
    """
    small = np.asarray(Image.fromarray(grey).resize((GRID + 1, GRID), Image.Resampling.BOX), np.int16)
    bits = small[:, 1:] - small[:, :-1] >= _STEP
    return np.packbits(bits).tobytes() if _LEAST <= bits.sum() <= bits.size - _LEAST else None


def near_twins(looks: np.ndarray) -> np.ndarray:
    """For each picture the first one before it that looks alike.

    All pairs are compared, as a product of matrices of ±1, block by block: 256 multiplications a pair, and no table of
    all pairs in memory. Naive: a loop over pairs.

    Args:
        looks: ``(N, 32)`` uint8 hashes.

    Returns:
        ``(N,)`` int64: the index of the first picture that differs in at most :data:`NEAR` bits, or -1.
    """
    count, bits = len(looks), 8 * looks.shape[1]
    first = np.full(count, -1, np.int64)
    for start in range(0, count, _ROWS):
        rows = _signs(looks[start:start + _ROWS])
        own = np.arange(start, start + len(rows))
        for left in range(0, start + len(rows), _COLUMNS):
            columns = _signs(looks[left:min(left + _COLUMNS, start + len(rows))])
            alike = rows @ columns.T >= bits - 2 * NEAR
            alike &= own[:, None] > left + np.arange(len(columns))
            found = alike.any(1) & (first[own] < 0)
            first[own[found]] = left + alike[found].argmax(1)
    return first


def _signs(looks: np.ndarray) -> np.ndarray:
    return np.unpackbits(looks, axis=1).astype(np.float32) * 2 - 1


def same_bytes(digests: np.ndarray) -> np.ndarray:
    """For each file the first one before it with the same digest, or -1.

    Args:
        digests: ``(N, 16)`` uint8; files of which nothing is known are rows of zeros.

    Returns:
        ``(N,)`` int64.
    """
    _, first, group = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    earliest = first[group.ravel()]
    return np.where((earliest < np.arange(len(digests))) & digests.any(1), earliest, -1)


def groups(first: np.ndarray, ids: Sequence[str]) -> Iterator[list[str]]:
    """Ids that belong together, by the index of an earlier one each, or -1."""
    owner = first.copy()
    members: dict[int, list[int]] = {}
    for i in np.flatnonzero(first >= 0):   # an earlier picture's own owner is known by then
        head = owner[first[i]] if owner[first[i]] >= 0 else first[i]
        owner[i] = head
        members.setdefault(int(head), [int(head)]).append(int(i))
    for group in members.values():
        yield [ids[i] for i in group]
