"""Class maps that other programs made, as files of many forms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from wsss_mm.datasets.label_readers import IGNORED, read_label_map
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import DATASETS
from wsss_mm.safe_loading import file_sha256
from wsss_mm.safe_pickle import load_npy, load_npz, load_pickle
from wsss_mm.structures import ClassMaps, ImageSample

FORMATS = ('npz', 'npy', 'pickle', 'png', 'labels')
MAP_KEYS = ('high_res', 'cam', 'attributions', 'maps')
_SCALES: dict[str, int] = {'L': 255, 'I;16': 65535, 'I;16B': 65535, 'I': 65535}
_IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class _Found(NamedTuple):
    """What a file holds: maps by segmentation id (0: background), and the image's size where it says so."""

    maps: dict[int, np.ndarray]
    size: tuple[int, int] | None = None


class ForeignMaps:
    """A folder of class maps made elsewhere, with a file or a folder for each image.

    ============ =========================== ==========================================================================
    format       file                        content
    ============ =========================== ==========================================================================
    ``'npz'``    ``<id>.npz``                ``maps (K, h, w)`` and ``class_ids (K,)``, segmentation ids, also this
                                             package's own; or a map for each name of a class, or for each class index
    ``'npy'``    ``<id>.npy``                IRN's, AdvCAM's, RIB's dictionary of ``keys (K,)``, class indices, and
                                             ``high_res``, ``cam`` or ``attributions`` ``(K, h, w)``; PSA's dictionary
                                             ``{class index: (h, w)}``; or scores of all classes ``(C, h, w)``
    ``'pickle'`` ``<id>.pickle``, ``.pkl``   the same
    ``'png'``    ``<id>/<class>.png`` or     a grey map for each class, by name or segmentation id; white, also that of
                 ``<id>_<class>.png``        16 bits, is 1
    ``'labels'`` ``<id>.png``                a label map, which gives maps of 0 and 1; ignored pixels are 0 in all
    ============ =========================== ==========================================================================

    Where there is one map more than classes, the first is the background. An id may also be spelled without the
    underscore of VOC's (numbers in some codes), and COCO's by its number alone. Nothing is unpickled
    (:mod:`wsss_mm.safe_pickle`).

    Args:
        map_dir: The folder.
        classes: Names of the classes in the order of their segmentation ids, background first; or a data set's type
            that has them, as ``'wsss_mm.WeakVOCDataset'``.
        format: A row of the table; ``'auto'`` takes what is there.
        keys: Name of the maps within dictionaries that have ``keys``; default the first of ``high_res``, ``cam``,
            ``attributions``, ``maps`` that is there.
        class_offset: Added to the numbers of classes to give segmentation ids; default 1 for dictionaries with class
            indices and 0 for segmentation ids, as above.
        normalize: ``'none'``: maps are in [0, 1]; ``'max'``: ReLU, then each map divided by its maximum; ``'minmax'``:
            each from its minimum to its maximum.
        missing: A tag without a map is an ``'error'``, or its map is ``'zeros'``.
        aspect: ``'keep'``: maps have the image's shape up to rounding, at any scale up to 1; ``'any'``: they were made
            of a squashed image, and are stretched to its shape.

    Raises:
        ConfigError: a choice that there is none of, or no names of classes.
    """

    def __init__(self, map_dir: str | Path, classes: Sequence[str] | str, format: str = 'auto', keys: str | None = None,
                 class_offset: int | None = None, normalize: str = 'none', missing: str = 'error',
                 aspect: str = 'keep') -> None:
        for name, value, known in (('format', format, ('auto', *FORMATS)), ('missing', missing, ('error', 'zeros')),
                                   ('normalize', normalize, ('none', 'max', 'minmax')),
                                   ('aspect', aspect, ('keep', 'any'))):
            if value not in known:
                raise ConfigError(f'ImportedMaps: {name}={value!r}', expected=f'one of {", ".join(known)}')
        self.map_dir, self.format, self.keys = str(map_dir), format, keys
        self.class_offset, self.normalize, self.missing, self.aspect = class_offset, normalize, missing, aspect
        self.classes = _class_names(classes)

    def fingerprint(self) -> dict[str, str]:
        """``maps``: a hash of the names and bytes of all files in the folder.

        Raises:
            DataError: there are none.
        """
        root = Path(self.map_dir)
        paths = sorted(path for path in root.rglob('*') if path.is_file()) if root.is_dir() else []
        if not paths:
            raise DataError('no maps here', file=root, expected='a file or a folder for each image',
                            fix='name the folder that holds them: pseudo_labels.generator.map_dir')
        lines = ''.join(f'{path.relative_to(root).as_posix()} {file_sha256(path)}\n' for path in paths)
        return dict(maps=hashlib.sha256(lines.encode()).hexdigest()[:16])

    def read(self, sample: ImageSample) -> tuple[ClassMaps, list[str]]:
        """The maps of one image, of the classes that it is tagged with, and notes for the manifest.

        Raises:
            ConfigError: a tag beyond the classes.
            DataError: no maps of this image, or of a tag; a form that is none of those above, a class outside of the
                set; maps of another image's size or shape, that hold NaN, or whose values need normalising.
        """
        tags = [int(tag) for tag in sample.tags]
        if max(tags, default=0) >= len(self.classes):
            raise ConfigError(f'ImportedMaps: {sample.image_id} is tagged with class {max(tags)}, but classes names '
                              f'{len(self.classes)} with the background', fix="give the data set's own classes")
        form, path = self._find(sample)
        found = self._content(form, path, sample)
        size = (sample.height, sample.width)
        if found.size not in (None, size):
            raise DataError(f'maps of an image of {found.size} pixels (height, width), it has {size}', file=path,
                            expected='maps of this very image')
        if strange := sorted(set(found.maps) - set(range(len(self.classes)))):
            raise DataError(f'class ids {strange} are outside the set', file=path,
                            expected=f'1…{len(self.classes) - 1}, after class_offset is added',
                            fix='set class_offset, or classes')
        missing = [tag for tag in tags if tag not in found.maps]
        if missing and self.missing == 'error':
            raise DataError(f'no map of {self._named(missing)}, which the image is tagged with; there are maps of '
                            f'{self._named(found.maps) or "nothing"}', file=path,
                            fix="add them, correct the tags, or set missing='zeros'")
        wanted = {i: found.maps[i] for i in (0, *tags) if i in found.maps}
        maps = {i: self._checked(values, f'the map of {self._named([i])}', path, size) for i, values in wanted.items()}
        shapes = {values.shape for values in maps.values()}
        if len(shapes) > 1:
            raise DataError(f'maps of the sizes {sorted(shapes)} in one image', file=path, expected='one size')
        shape = shapes.pop() if shapes else size
        stack = np.stack([maps.get(tag, np.zeros(shape, np.float32)) for tag in tags] or [np.zeros(shape, np.float32)])
        notes = [f'no map of {self._named(missing)}: zeros'] if missing else []
        return ClassMaps(sample.image_id, np.asarray(sample.tags, np.int64), stack[:len(tags)], *size,
                         background=maps.get(0)), notes

    def _named(self, ids: Iterable[int]) -> str:
        return ', '.join(f'{i} ({self.classes[i]})' for i in sorted(ids))

    def _find(self, sample: ImageSample) -> tuple[str, Path]:
        """The one file or folder of an image."""
        root = Path(self.map_dir)
        for stem in spellings(sample.image_id):
            there = [(form, path) for form, path in (
                ('npz', root / f'{stem}.npz'), ('npy', root / f'{stem}.npy'), ('pickle', root / f'{stem}.pickle'),
                ('pickle', root / f'{stem}.pkl'), ('labels', root / f'{stem}.png')) if path.is_file()]
            if (root / stem).is_dir() or any(root.joinpath(f'{stem}_{name}.png').is_file()
                                             for tag in sample.tags for name in self._names(tag)):
                there.append(('png', root / stem))
            there = [(form, path) for form, path in there if self.format in ('auto', form)]
            if len(there) > 1:
                raise DataError(f'several maps of this image: {", ".join(str(path) for _, path in there)}', file=root,
                                fix=f'set format, one of {", ".join(FORMATS)}')
            if there:
                return there[0]
        kind = '' if self.format == 'auto' else f'of format {self.format!r} '
        raise DataError(f'no maps {kind}of the image {sample.image_id}', file=root,
                        expected=f'{sample.image_id}.npz, .npy, .pickle or .png, or {sample.image_id}/<class>.png',
                        fix='name the maps by the ids of the list, or take the image off the list')

    def _names(self, class_id: int) -> tuple[str, str]:
        """How a class may be spelled in a file's name."""
        return self.classes[class_id], str(class_id - (self.class_offset or 0))

    def _content(self, form: str, path: Path, sample: ImageSample) -> _Found:
        if form == 'labels':
            return self._of_labels(path)
        if form == 'png':
            return self._of_pictures(path, sample)
        content = dict(npz=load_npz, npy=load_npy, pickle=load_pickle)[form](path)
        if isinstance(content, Mapping) and list(content) == ['arr_0']:
            content = content['arr_0']   # np.savez without names
        if isinstance(content, np.ndarray):
            return self._of_stack(content, path)
        if not isinstance(content, Mapping):
            raise DataError(f'holds a {type(content).__name__}', file=path, expected='maps by class, or one array')
        if {'maps', 'class_ids'} <= content.keys():
            found = self._of_pairs(content['class_ids'], content['maps'], self.class_offset or 0, path)
            if 'background' in content:
                found[0] = np.asarray(content['background'])
            size = tuple(int(n) for n in np.ravel(content['size'])) if 'size' in content else ()
            return _Found(found, size if len(size) == 2 else None)
        if 'keys' in content:
            name = self.keys or next((key for key in MAP_KEYS if key in content), None)
            if name not in content:
                raise DataError(f'has keys, but no {name or "maps"}; there are {sorted(map(str, content))}', file=path,
                                fix='set keys to the name of the maps')
            return _Found(self._of_pairs(content['keys'], content[name], self._offset(), path))
        return _Found({self._class_id(key, path): np.asarray(value) for key, value in content.items()})

    def _offset(self) -> int:
        return 1 if self.class_offset is None else self.class_offset

    def _class_id(self, key: Any, path: Path) -> int:
        """Segmentation id of a class by its name, or by its index."""
        if isinstance(key, str) and key in self.classes:
            return self.classes.index(key)
        if isinstance(key, (int, np.integer)) or isinstance(key, str) and re.fullmatch(r'\d{1,6}', key):
            return int(key) + self._offset()
        raise DataError(f'{key!r} is no class', file=path, expected=f'numbers, or names: {", ".join(self.classes)}',
                        fix='correct the name, or set classes')

    def _of_pairs(self, keys: Any, maps: Any, offset: int, path: Path) -> dict[int, np.ndarray]:
        try:
            ids, stack = np.atleast_1d(np.asarray(keys)), np.asarray(maps)
        except ValueError:   # rows of different lengths
            raise DataError('the maps are of different sizes', file=path, expected='(K, h, w)') from None
        if ids.ndim != 1 or ids.dtype.kind not in 'iu' and ids.size:
            raise DataError(f'classes of shape {ids.shape} and type {ids.dtype}', file=path, expected='(K,) integers')
        numbers = [int(i) + offset for i in ids]
        if len(set(numbers)) < len(numbers):
            raise DataError(f'classes named twice: {ids.tolist()}', file=path, expected='each class once')
        if not numbers and not stack.size:
            return {}
        if stack.ndim != 3 or len(stack) - len(numbers) not in (0, 1):
            raise DataError(f'maps of shape {stack.shape} for {len(numbers)} classes', file=path,
                            expected=f'({len(numbers)}, h, w), or one more with the background first')
        background = {} if len(stack) == len(numbers) else {0: stack[0]}
        return background | dict(zip(numbers, stack[len(background):], strict=True))

    def _of_stack(self, stack: np.ndarray, path: Path) -> _Found:
        count = len(self.classes)
        if stack.ndim != 3 or len(stack) not in (count - 1, count):
            raise DataError(f'an array of shape {stack.shape}', file=path,
                            expected=f'({count - 1}, h, w), a map for each class, or {count} with the background first')
        first = count - len(stack)
        return _Found({first + i: values for i, values in enumerate(stack)})

    def _of_labels(self, path: Path) -> _Found:
        labels = read_label_map(path)
        strange = sorted(set(np.unique(labels).tolist()) - {*range(len(self.classes)), IGNORED})
        if strange:
            raise DataError(f'class ids {strange} are outside the set', file=path,
                            expected=f'0…{len(self.classes) - 1}, or {IGNORED} for ignored')
        return _Found({i: (labels == i).astype(np.float32) for i in range(1, len(self.classes))})

    def _of_pictures(self, path: Path, sample: ImageSample) -> _Found:
        if path.is_dir():
            files = {}
            for picture in sorted(path.glob('*.png')):
                numbered = re.fullmatch(r'\d{1,6}', picture.stem)
                class_id = self._class_id(picture.stem, picture)
                files[class_id - self._offset() + (self.class_offset or 0) if numbered else class_id] = picture
        else:
            files = {int(tag): picture for tag in sample.tags for name in self._names(tag)
                     if (picture := path.with_name(f'{path.name}_{name}.png')).is_file()}
        return _Found({i: _grey(picture) for i, picture in files.items()})

    def _checked(self, values: np.ndarray, what: str, path: Path, size: tuple[int, int]) -> np.ndarray:
        """A map as float32 in [0, 1]."""
        if values.ndim != 2 or 0 in values.shape:
            raise DataError(f'{what} has the shape {values.shape}', file=path, expected='(h, w)')
        if values.dtype.kind not in 'fb' and (values.dtype.kind not in 'iu' or self.normalize == 'none'):
            raise DataError(f'{what} is {values.dtype}', file=path, expected='floating point numbers in [0, 1]',
                            fix="convert them, or set normalize='max'")
        if not fits(values.shape, size, self.aspect == 'any'):
            raise DataError(f'{what} has {values.shape[0]} x {values.shape[1]} pixels (height x width), the image '
                            f'{size[0]} x {size[1]}', file=path,
                            expected="the image's own size, or a smaller one of its shape",
                            fix="check that they belong together; aspect='any' takes maps of squashed images")
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError(f'{what} holds {np.count_nonzero(~np.isfinite(values))} values of NaN or infinity',
                            file=path, expected='finite numbers')
        low, high = float(values.min()), float(values.max())
        if self.normalize == 'none':
            if low < -1e-3 or high > 1 + 1e-3:
                raise DataError(f'{what} has values from {low:.4g} to {high:.4g}', file=path,
                                expected='values in [0, 1]', fix="set normalize='max' (ReLU first) or 'minmax'")
            return values.clip(0, 1)
        if self.normalize == 'max':
            low = 0.
        return ((values - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(values)


def spellings(image_id: str) -> list[str]:
    """Names that codes give to an image's file: its id, VOC's as a number, COCO's number with and without zeros."""
    names = [image_id]
    if re.fullmatch(r'\d{4}_\d{6}', image_id):
        names.append(image_id.replace('_', ''))
    elif found := re.fullmatch(r'(?:COCO_\w+?_)?(\d{12})', image_id):
        number = found[1]
        names += [number, f'COCO_train2014_{number}', f'COCO_val2014_{number}', str(int(number))]
    return list(dict.fromkeys(names))


def fits(shape: Sequence[int], size: tuple[int, int], squashed: bool = False) -> bool:
    """Whether a map may be of an image: its size, or one scale up to 1 gives both sides within a pixel.

    Args:
        shape: ``(h, w)`` of the map.
        size: ``(H, W)`` of the image.
        squashed: Two scales may give them.
    """
    if any(n > whole for n, whole in zip(shape, size, strict=True)):
        return False
    low, high = ([(n + d) / whole for n, whole in zip(shape, size, strict=True)] for d in (-1, 1))
    return squashed or max(low) <= min(high)


def _class_names(classes: Sequence[str] | str) -> list[str]:
    """Names of the classes, background first."""
    if isinstance(classes, str):
        dataset = DATASETS.get(classes)
        names = getattr(dataset, 'METAINFO', {}).get('classes')
        if not names:
            raise ConfigError(f'ImportedMaps: classes={classes!r}', expected="a data set's type that has classes, as "
                              "'wsss_mm.WeakVOCDataset', or their names, background first")
        return list(names)
    return list(classes)


def _grey(path: Path) -> np.ndarray:
    """A grey picture as numbers in [0, 1]."""
    try:
        with Image.open(path) as picture:
            if picture.mode not in _SCALES:
                raise DataError(f'pixel type is {picture.mode!r}', file=path, expected='a grey PNG of 8 or 16 bits')
            return np.asarray(picture, np.float32) / _SCALES[picture.mode]
    except _IMAGE_ERRORS as error:
        raise DataError(f'not readable as a map ({error})', file=path, expected='a whole PNG file') from None
