"""MCG's ``.mat`` files, of any version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsss_mm.errors import DataError, WSSSError
from wsss_mm.refinement.proposals import Proposals

_NAMES = ('superpixels', 'labels', 'masks', 'scores', 'bboxes', 'boxes')
_EXPECTED = 'superpixels (H, W) and labels, a cell of superpixel numbers for each proposal; or masks (H, W, K)'


def read_mat(path: str | Path) -> Proposals:
    """Proposals from MATLAB's file, as MCG's packs have them.

    ``superpixels (H, W)`` numbers pixels from 1, ``labels`` is a cell that lists the superpixels of each proposal, and
    ``scores`` has a number for each; or there is ``masks (H, W, K)``. Neither reader runs anything: a function or an
    object in the file would be read as bytes. Of a file of version 7.3 (HDF5), links that lead out of it are refused.

    Raises:
        DataError: not such a file, cut short, or one of boxes alone.
        WSSSError: version 7.3, and h5py is not installed.
    """
    try:
        with open(path, 'rb') as stream:
            head = stream.read(520)
        found = _read_hdf5(path) if b'\x89HDF\r\n\x1a\n' in (head[:8], head[512:]) else _read_old(path)
    except WSSSError:
        raise
    except Exception as error:   # what a broken file makes the parsers raise has no end
        raise DataError(f'not readable as a .mat file ({type(error).__name__}: {error})', file=path,
                        expected=_EXPECTED) from None
    try:
        return _proposals(found)
    except DataError as error:
        raise DataError(error.problem, file=path, expected=error.expected or _EXPECTED, fix=error.fix) from None


def _proposals(found: dict[str, Any]) -> Proposals:
    scores = found.get('scores')
    scores = None if scores is None else np.asarray(scores).reshape(-1)
    if scores is not None and scores.dtype.kind not in 'iuf':
        raise DataError(f'scores of {scores.dtype}', expected='numbers')
    if 'superpixels' in found and 'labels' in found:
        superpixels = _whole(found['superpixels'], 'superpixels')
        members = [_whole(x, 'labels').reshape(-1) for x in found['labels']]
        indptr = np.concatenate([[0], np.cumsum([len(x) for x in members])]).astype(np.int64)
        indices = np.concatenate([np.zeros(0, np.int64), *members])
        return Proposals(superpixels - 1, indptr, indices - 1, scores)
    if 'masks' in found:
        masks = found['masks']
        if getattr(masks, 'ndim', 0) == 2:   # MATLAB drops the last dimension of a single mask
            masks = masks[:, :, None]
        if getattr(masks, 'ndim', 0) != 3:
            raise DataError(f'masks {np.shape(masks)}', expected='masks (H, W, K)')
        return Proposals.from_masks((masks[:, :, k] for k in range(masks.shape[2])), scores)
    if boxes := {'bboxes', 'boxes'} & set(found):
        raise DataError(f'{boxes.pop()} alone: boxes have no masks', expected=_EXPECTED,
                        fix="take the pack of proposals, as 'MCG-…-proposals', not that of boxes")
    raise DataError(f'neither masks nor superpixels; found: {", ".join(sorted(found)) or "nothing"}')


def _whole(array: Any, name: str) -> np.ndarray:
    """An array as int64; MATLAB's numbers are floats unless somebody said otherwise."""
    array = np.asarray(array)
    if array.dtype.kind not in 'iuf' or (array.dtype.kind == 'f' and not np.isfinite(array).all()):
        raise DataError(f'{name} of {array.dtype}', expected='finite numbers')
    whole = array.astype(np.int64)
    if (whole != array).any() or (whole.size and whole.min() < 1):
        raise DataError(f'{name} with a number below 1, or not whole', expected='numbers from 1 on')
    return whole


def _read_old(path: str | Path) -> dict[str, Any]:
    """Versions 4 to 7: arrays by name, the cell as a list of arrays."""
    from scipy.io import loadmat
    found = loadmat(path, variable_names=_NAMES)
    found = {name: found[name] for name in _NAMES if name in found}
    if 'labels' in found:
        found['labels'] = list(found['labels'].reshape(-1))
    return found


def _read_hdf5(path: str | Path) -> dict[str, Any]:
    """Version 7.3: the same from HDF5, where the dimensions are in the reverse order and a cell holds references."""
    try:
        import h5py
    except ImportError:
        raise WSSSError('h5py is not installed, which reads .mat files of version 7.3', file=path,
                        fix='pip install "wsss_mm[proposals]"') from None

    def read(dataset: Any) -> np.ndarray:
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise DataError(f'{getattr(dataset, "name", "a part")} is no array in the file itself')
        if 'MATLAB_empty' in dataset.attrs:   # it then holds the dimensions
            return np.zeros(0)
        return np.asarray(dataset[()]).T

    with h5py.File(path, 'r') as file:
        for name in file:
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise DataError(f'{name} leads out of the file')
        found: dict[str, Any] = {name: read(file[name]) for name in _NAMES if name in file}
        if 'labels' in found:
            found['labels'] = [read(file[reference]) for reference in found['labels'].reshape(-1)]
    return found
