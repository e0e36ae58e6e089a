"""Mask proposals from files: MCG's, arrays, COCO's run lengths."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss_mm.array_files import read_arrays
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.files import read_run
from wsss_mm.refinement.mat_files import read_mat
from wsss_mm.refinement.proposals import Proposals
from wsss_mm.registry import TASK_UTILS
from wsss_mm.run_lengths import decode_mask

_SUFFIXES = dict(mcg=('.mat',), numpy=('.npz', '.npy'), coco=('.json', '.jsonl'))


@TASK_UTILS.register_module()
class MaskProposals:
    """Proposals of a data set from files, one per image, or one JSON file of all images.

    =========  ====================================================================================================
    format     content
    =========  ====================================================================================================
    ``mcg``    ``.mat`` of any version: MCG's ``superpixels`` and ``labels``, or ``masks (H, W, K)``. Versions up to
               7 are read with scipy, 7.3 with h5py; both give arrays and run nothing that is in the file.
    ``numpy``  ``.npz`` with ``superpixels, indptr, indices``, as :class:`Proposals` writes it, with ``masks (K, H, W)``
               bool, or with ``packed (K, ceil(H·W / 8))`` uint8, ``numpy.packbits`` of each mask, and ``shape (H, W)``;
               ``.npy`` with such masks. ``scores (K,)`` may be there. Nothing is unpickled.
    ``coco``   JSON: a list of ``{image_id, segmentation, score}``, or an object with it as ``annotations``; or one such
               object a line (``.jsonl``). Run lengths, compressed or not.
    =========  ====================================================================================================

    A file is looked for by the image's id, then without ``2007_``, as VOC 2007's images are named in MCG's packs, then
    for COCO 2017's ids, ``000000000139``, as ``COCO_train2014_…`` and ``COCO_val2014_…``. In one JSON file of all
    images, ids of digits alone are equal where their numbers are.

    Args:
        folder: Where the files are, or several such folders, or one JSON file. That one is read whole, by every worker
            process: for more than some 10,000 images, write a file per image.
        format: ``'mcg'``, ``'numpy'``, ``'coco'``, or ``'auto'``, by the suffix of what is there.
        pattern: File name without suffix, ``{id}`` for the image's id, as ``'{id}_proposals'``.

    Raises:
        ConfigError: an unknown format, or a pattern without ``{id}``.
    """

    def __init__(self, folder: str | Sequence[str], format: str = 'auto', pattern: str = '{id}') -> None:
        if format != 'auto' and format not in _SUFFIXES:
            raise ConfigError(f'MaskProposals: format={format!r}', expected=f'auto, {", ".join(_SUFFIXES)}')
        if '{id}' not in pattern:
            raise ConfigError(f'MaskProposals: pattern={pattern!r}', expected="a name with '{id}', as '{id}'")
        self.folders = [folder] if isinstance(folder, str) else list(folder)
        self.format, self.pattern = format, pattern
        self._index: dict[str, list[Any]] | None = None

    def __call__(self, image_id: str, image: np.ndarray) -> Proposals:
        """Proposals of one image.

        Args:
            image_id: As in the list file.
            image: ``(H, W, 3)``, of which only the size is looked at.

        Raises:
            DataError: no file, one of another size, or one that is cut short or holds something else.
            WSSSError: a ``.mat`` file of version 7.3, and h5py is not installed.
        """
        height, width = image.shape[:2]
        if self._one_file():
            path, found = Path(self.folders[0]), self._of_dataset(image_id, height, width)
        else:
            path = self.find(image_id)
            found = _read(path, height, width)
        if found.shape != (height, width):
            raise DataError(f'proposals of an image of {found.shape[0]} x {found.shape[1]} pixels (height x width), it '
                            f'has {height} x {width}', file=path, expected='proposals of this very image')
        return found

    def find(self, image_id: str) -> Path:
        """The file of an image.

        Raises:
            DataError: there is none.
        """
        suffixes = sum(_SUFFIXES.values(), ()) if self.format == 'auto' else _SUFFIXES[self.format]
        names = [self.pattern.replace('{id}', name) for name in _names(image_id)]
        for folder in self.folders:
            for name in names:
                for suffix in suffixes:
                    path = Path(folder) / f'{name}{suffix}'
                    if path.is_file():
                        return path
        raise DataError(f'no proposals of {image_id} here', file=', '.join(self.folders),
                        expected=' or '.join(f'{name}{{{",".join(suffixes)}}}' for name in names),
                        fix='set folder, format and pattern of MaskProposals; without MCG, '
                        'tools/generate.py configs/proposals/hierarchy_voc.py makes proposals')

    def fingerprint(self) -> dict[str, str]:
        """``proposals``: the run that made them, else a hash of all names and sizes.

        Raises:
            DataError: there are none.
        """
        digest = hashlib.sha256()
        for folder in map(Path, self.folders):
            run = read_run(folder.parent) if folder.is_dir() else None
            if run is not None and not run.get('complete'):
                raise DataError('the run that makes the proposals is not complete', file=folder.parent / 'run.json',
                                fix='run its command again: what is finished is kept')
            if run is not None:
                digest.update(run['hash'].encode())
                continue
            paths = sorted(folder.iterdir()) if folder.is_dir() else [folder] if folder.is_file() else []
            if not paths:
                raise DataError('no proposals here', file=folder, fix='set folder of MaskProposals')
            digest.update(''.join(f'{path.name} {path.stat().st_size}\n' for path in paths).encode())
        return dict(proposals=digest.hexdigest()[:16])

    def _one_file(self) -> bool:
        return len(self.folders) == 1 and Path(self.folders[0]).suffix in _SUFFIXES['coco'] \
            and not Path(self.folders[0]).is_dir()

    def _of_dataset(self, image_id: str, height: int, width: int) -> Proposals:
        path = Path(self.folders[0])
        if self._index is None:
            self._index = {}
            for record in _records(path):
                self._index.setdefault(_key(record.get('image_id')), []).append(record)
        records = next((self._index[_key(name)] for name in _names(image_id) if _key(name) in self._index), None)
        if records is None:
            raise DataError(f'no proposals of {image_id} here', file=path, expected='records with this image_id')
        return _from_records(records, path, height, width)


def _names(image_id: str) -> list[str]:
    """Names that an image has in the packs of proposals."""
    names = [image_id]
    if image_id.startswith('2007_'):
        names.append(image_id[len('2007_'):])
    if re.fullmatch(r'\d{12}', image_id):
        names += [f'COCO_train2014_{image_id}', f'COCO_val2014_{image_id}']
    if found := re.fullmatch(r'COCO_(?:train|val)2014_(\d{12})', image_id):
        names.append(found[1])
    return names


def _key(image_id: object) -> str:
    text = str(image_id)
    return text.lstrip('0') if text.isdigit() else text


def _read(path: Path, height: int, width: int) -> Proposals:
    if path.suffix == '.mat':
        return read_mat(path)
    if path.suffix in _SUFFIXES['numpy']:
        return _from_arrays(read_arrays(path, 'proposals', alone='masks'), path)
    return _from_records(_records(path), path, height, width)


def _from_arrays(arrays: dict[str, np.ndarray], path: Path) -> Proposals:
    if 'superpixels' in arrays:
        return Proposals.from_arrays(arrays, path)
    if 'packed' in arrays and 'shape' in arrays:
        packed, shape = arrays['packed'], arrays['shape']
        if shape.shape != (2,) or shape.dtype.kind not in 'iu' or shape.min() < 1:
            raise DataError(f'shape {shape}', file=path, expected='height and width')
        height, width = (int(v) for v in shape)
        if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[1] != -(-height * width // 8):
            raise DataError(f'packed {packed.shape} {packed.dtype} for masks of {height} x {width} pixels', file=path,
                            expected=f'(K, {-(-height * width // 8)}) uint8, numpy.packbits of each mask')
        masks: Any = (np.unpackbits(row, count=height * width).reshape(height, width) for row in packed)
    elif 'masks' in arrays:
        masks = arrays['masks']
        if masks.ndim != 3:
            raise DataError(f'masks {masks.shape}', file=path, expected='(K, H, W)')
    else:
        raise DataError(f'arrays {", ".join(sorted(arrays)) or "none"}', file=path,
                        expected='superpixels, indptr and indices; or masks; or packed and shape')
    return _named(path, lambda: Proposals.from_masks(masks, arrays.get('scores')))


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding='utf-8')
        found = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == '.jsonl' \
            else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f'not readable as JSON ({type(error).__name__}: {error})', file=path,
                        expected='a list of {image_id, segmentation, score}, or one such object a line in a .jsonl file'
                        ) from None
    if isinstance(found, dict):
        found = found.get('annotations')
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise DataError('no list of objects', file=path, expected='a list of {image_id, segmentation, score}')
    return found


def _from_records(records: list[dict[str, Any]], path: Path, height: int, width: int) -> Proposals:
    scores = [record.get('score') for record in records]
    known = all(isinstance(score, (int, float)) for score in scores)
    masks = (decode_mask(record.get('segmentation'), height, width) for record in records)
    return _named(path, lambda: Proposals.from_masks(masks, np.array(scores, np.float32) if known else None))


def _named(path: Path, make: Callable[[], Proposals]) -> Proposals:
    """What ``make`` gives; its errors name the file."""
    try:
        return make()
    except DataError as error:
        raise DataError(error.problem, file=path, expected=error.expected, fix=error.fix) from None
