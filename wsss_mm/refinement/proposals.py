"""Mask proposals of one image: regions that are unions of superpixels, of no class.

All forms of proposals are brought to this one. A proposal then costs a row of superpixel numbers instead of an image,
and what all of them share with a mask is one histogram of the mask over the superpixels and one sparse product, exact
to the pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from wsss_mm.array_files import npz_bytes, read_arrays
from wsss_mm.errors import DataError

_EXPECTED = 'superpixels (H, W), indptr (K + 1,), indices, perhaps scores (K,)'


@dataclass(frozen=True, eq=False)
class Proposals:
    """K mask proposals over S superpixels.

    A superpixel need not be connected, and may have no pixel.

    Attributes:
        superpixels: ``(H, W)`` int32, 0…S-1.
        indptr: ``(K + 1,)`` int64; proposal k is made of the superpixels ``indices[indptr[k]:indptr[k + 1]]``.
        indices: int32, ascending and different within a proposal.
        scores: ``(K,)`` float32, where the proposals are ranked; higher is better.
        num_superpixels: S.

    Raises:
        DataError: arrays that do not fit together.
    """

    superpixels: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    scores: np.ndarray | None = None
    num_superpixels: int = -1

    def __post_init__(self) -> None:
        pixels, indptr, indices = (np.asarray(x) for x in (self.superpixels, self.indptr, self.indices))
        for name, array, dims in (('superpixels', pixels, 2), ('indptr', indptr, 1), ('indices', indices, 1)):
            if array.ndim != dims or array.dtype.kind not in 'iu':
                raise DataError(f'{name} {array.shape} {array.dtype}', expected=_EXPECTED + '; whole numbers')
        if pixels.size == 0 or len(indptr) == 0:
            raise DataError(f'superpixels {pixels.shape}, indptr {indptr.shape}', expected=_EXPECTED)
        count = self.num_superpixels if self.num_superpixels >= 0 else int(pixels.max()) + 1
        if pixels.min() < 0 or pixels.max() >= count or count > pixels.size:
            raise DataError(f'superpixels {pixels.min()} to {pixels.max()}, {count} of them, in an image of '
                            f'{pixels.shape[0]} x {pixels.shape[1]} pixels (height x width)',
                            expected='0 to S - 1, and no more of them than pixels')
        if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr.astype(np.int64)) < 0).any():
            raise DataError(f'indptr from {indptr[0]} to {indptr[-1]} for {len(indices)} indices',
                            expected='ascending, from 0 to the number of indices')
        if len(indices) and (indices.min() < 0 or indices.max() >= count):
            raise DataError(f'indices {indices.min()} to {indices.max()}',
                            expected=f'superpixels, 0 to {count - 1}')
        scores = self.scores
        if scores is not None:
            scores = np.asarray(scores)
            if scores.dtype.kind not in 'fiu':
                raise DataError(f'scores of {scores.dtype}', expected='numbers')
            scores = scores.astype(np.float32)
            if scores.shape != (len(indptr) - 1,):
                raise DataError(f'scores {scores.shape} for {len(indptr) - 1} proposals', expected='one each')
        keys = indices.astype(np.int64) + count * np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        if len(keys) > 1 and (np.diff(keys) <= 0).any():   # another order, or a superpixel twice
            keys = np.unique(keys)
            indices = keys % count
            indptr = np.searchsorted(keys, count * np.arange(len(indptr), dtype=np.int64))
        for name, value in (('superpixels', pixels.astype(np.int32)), ('indptr', indptr.astype(np.int64)),
                            ('indices', indices.astype(np.int32)), ('scores', scores), ('num_superpixels', count)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        height, width = self.superpixels.shape
        return height, width

    @cached_property
    def membership(self) -> csr_matrix:
        """``(K, S)`` int64, 1 where the superpixel is a part of the proposal."""
        ones = np.ones(len(self.indices), np.int64)
        return csr_matrix((ones, self.indices, self.indptr), (len(self), self.num_superpixels))

    @cached_property
    def superpixel_areas(self) -> np.ndarray:
        """``(S,)`` int64, pixels of each superpixel."""
        return np.bincount(self.superpixels.ravel(), minlength=self.num_superpixels)

    @cached_property
    def areas(self) -> np.ndarray:
        """``(K,)`` int64, pixels of each proposal."""
        return self.membership @ self.superpixel_areas

    def counts(self, masks: np.ndarray) -> np.ndarray:
        """Pixels of masks in each superpixel, from which :meth:`sums` makes those in each proposal.

        Args:
            masks: ``(…, H, W)`` bool, or float weights.

        Returns:
            ``(…, S)`` int64 counts, or float64 sums of the weights.

        Raises:
            DataError: masks of another size.
        """
        masks = np.asarray(masks)
        if masks.shape[-2:] != self.shape:
            raise DataError(f'masks {masks.shape} for proposals of an image of {self.shape[0]} x {self.shape[1]} '
                            'pixels (height x width)', expected='masks of that very image')
        flat = masks.reshape(int(np.prod(masks.shape[:-2], dtype=np.int64)), -1)
        row, pixel = flat.nonzero()
        key = row * self.num_superpixels + self.superpixels.ravel()[pixel]
        weights = None if masks.dtype == bool else flat[row, pixel]
        found = np.bincount(key, weights, minlength=len(flat) * self.num_superpixels)
        return found.reshape(*masks.shape[:-2], self.num_superpixels)

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """What superpixels' ``counts (…, S)`` add up to in each proposal, ``(…, K)``."""
        flat = counts.reshape(-1, self.num_superpixels)
        return (self.membership @ flat.T).T.reshape(*counts.shape[:-1], len(self))

    def iou(self, masks: np.ndarray) -> np.ndarray:
        """Intersection over union of ``masks (…, H, W)`` bool with each proposal, ``(…, K)`` float64; 0 of nothing."""
        counts = self.counts(np.asarray(masks, bool))
        inside = self.sums(counts)
        union = counts.sum(-1, keepdims=True) + self.areas - inside
        return inside / np.maximum(union, 1)

    def containment(self, masks: np.ndarray) -> np.ndarray:
        """Share of each proposal's pixels that lie in ``masks (…, H, W)`` bool, ``(…, K)`` float64; 0 of nothing."""
        return self.sums(self.counts(np.asarray(masks, bool))) / np.maximum(self.areas, 1)

    def mask(self, k: int) -> np.ndarray:
        """``(H, W)`` bool, the pixels of proposal ``k``."""
        return self.union([k])

    def masks(self, ks: Sequence[int] | np.ndarray) -> np.ndarray:
        """``(len(ks), H, W)`` bool, the pixels of several proposals; each costs an image."""
        table = self.membership[np.asarray(ks, np.int64)].toarray().astype(bool)
        return table[:, self.superpixels]

    def union(self, ks: Sequence[int] | np.ndarray) -> np.ndarray:
        """``(H, W)`` bool, the pixels that any of several proposals has."""
        table = np.zeros(self.num_superpixels, bool)
        table[self.membership[np.asarray(ks, np.int64)].indices] = True
        return table[self.superpixels]

    def subset(self, ks: Sequence[int] | np.ndarray) -> Proposals:
        """Some of the proposals, in the order asked for."""
        chosen = self.membership[np.asarray(ks, np.int64)]
        return Proposals(self.superpixels, chosen.indptr, chosen.indices,
                         None if self.scores is None else self.scores[np.asarray(ks, np.int64)], self.num_superpixels)

    @classmethod
    def from_masks(cls, masks: Iterable[np.ndarray], scores: np.ndarray | None = None) -> Proposals:
        """Proposals from a mask each: the superpixels are the sets of pixels that the same masks contain.

        Eight masks at a time are packed to a byte a pixel, so K masks take H·W·K/8 bytes. Pixels are told apart by a
        hash of their K bits and compared with all bits afterwards, so the partition is exact.

        Args:
            masks: K of ``(H, W)`` bool.
            scores: ``(K,)``.

        Raises:
            DataError: no masks, not bool or 0 and 1, or of different sizes.
        """
        packed: list[np.ndarray] = []
        eight: list[np.ndarray] = []
        shape: tuple[int, ...] | None = None
        count = 0
        for mask in masks:
            shape = shape or mask.shape
            if mask.ndim != 2 or mask.shape != shape or mask.size == 0:
                raise DataError(f'mask {count} has the shape {mask.shape}', expected=f'(H, W), as {shape}')
            if mask.dtype.kind not in 'biu' or (mask.dtype != bool and mask.max() > 1) or mask.min() < 0:
                raise DataError(f'mask {count} has values {mask.min()} to {mask.max()} of {mask.dtype}',
                                expected='bool, or whole numbers 0 and 1')
            eight.append(mask.astype(bool))
            count += 1
            if len(eight) == 8:
                packed.append(_pack(eight))
                eight = []
        if shape is None:
            raise DataError('no masks', expected='at least one proposal')
        if eight:
            packed.append(_pack(eight))
        return cls._from_packed(np.stack(packed), count, (shape[0], shape[1]), scores)

    @classmethod
    def _from_packed(cls, packed: np.ndarray, count: int, shape: tuple[int, int], scores: np.ndarray | None
                     ) -> Proposals:
        """From bits ``(ceil(K / 8), H·W)`` uint8, mask 0 the highest bit of the first byte."""
        first, labels = _equal_columns(packed)
        rows, columns = [], []
        for i in range(0, len(packed), 64):   # at most 512 x S bytes at once
            row, column = np.unpackbits(packed[i:i + 64, first], axis=0)[:count - 8 * i].nonzero()
            rows.append(row + 8 * i)
            columns.append(column)
        indptr = np.searchsorted(np.concatenate(rows), np.arange(count + 1))
        return cls(labels.reshape(shape), indptr, np.concatenate(columns), scores)

    def to_bytes(self) -> bytes:
        """The ``.npz`` file's bytes, without pickle; equal proposals give equal bytes."""
        arrays = dict(superpixels=self.superpixels, indptr=self.indptr, indices=self.indices,
                      num_superpixels=np.array(self.num_superpixels))
        if self.scores is not None:
            arrays['scores'] = self.scores
        return npz_bytes(arrays)

    @classmethod
    def load(cls, path: str | Path) -> Proposals:
        """Read a file written from :meth:`to_bytes`.

        Raises:
            DataError: not such a file, or arrays that do not fit together.
        """
        return cls.from_arrays(read_arrays(path, 'proposals'), path)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], path: str | Path) -> Proposals:
        """From the arrays of a file, which errors name.

        Raises:
            DataError: as :meth:`load`.
        """
        if missing := {'superpixels', 'indptr', 'indices'} - set(arrays):
            raise DataError(f'arrays missing: {", ".join(sorted(missing))}; found: {", ".join(sorted(arrays))}',
                            file=path, expected=_EXPECTED)
        count = arrays.get('num_superpixels', np.array(-1))
        if count.shape != () or count.dtype.kind not in 'iu':
            raise DataError(f'num_superpixels {count.shape} {count.dtype}', file=path, expected='one whole number')
        try:
            return cls(arrays['superpixels'], arrays['indptr'], arrays['indices'], arrays.get('scores'), int(count))
        except DataError as error:
            raise DataError(error.problem, file=path, expected=error.expected) from None


def _pack(masks: list[np.ndarray]) -> np.ndarray:
    """Up to eight ``(H, W)`` masks as the bits of ``(H·W,)`` bytes, the first highest."""
    packed = np.zeros(masks[0].size, np.uint8)
    for i, mask in enumerate(masks):   # numpy.packbits along the first axis is many times slower
        packed |= mask.ravel().view(np.uint8) << np.uint8(7 - i)
    return packed


def _hashes(packed: np.ndarray) -> np.ndarray:
    """64 bits for each column of ``(B, N)`` bytes."""
    key = np.zeros(packed.shape[1], np.uint64)
    with np.errstate(over='ignore'):
        for row in packed:
            key = (key ^ row) * np.uint64(0x9e3779b97f4a7c15)
            key ^= key >> np.uint64(29)
    return key


def _equal_columns(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First one of each set of equal columns of ``(B, N)`` bytes, ``(S,)``, and the set of every column, ``(N,)``.

    The sets are in the order of their first columns. B passes over N, one sort of N; a sort of whole columns would
    compare B bytes each time, and is only done where two hashes agree by chance.
    """
    _, first, labels = np.unique(_hashes(packed), return_index=True, return_inverse=True)
    labels = labels.reshape(-1)   # numpy 2.0 gave it another shape
    if not all(np.array_equal(row, row[first][labels]) for row in packed):
        _, first, labels = np.unique(packed.T, axis=0, return_index=True, return_inverse=True)
        labels = labels.reshape(-1)
    order = np.argsort(first, kind='stable')
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[labels]
