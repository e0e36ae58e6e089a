"""Readers of images, boxes and label maps that refuse what cannot be right.

Each says which file and which field is wrong. They know nothing of datasets or pipelines, so tools use them too.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import mmengine.fileio as fileio
import numpy as np
from PIL import Image, ImageOps

from wsss_mm.errors import ConfigError, DataError

BOX_CONVENTIONS = ('official', 'exact')
OUTSIDE_POLICIES = ('error', 'clip')
IGNORED = 255
LISTS = 'ImageSets/Segmentation'   # of images, in VOC's layout
IMAGE_SUFFIXES = ('.jpg', '.png', '.jpeg')
_TAG_FORM = 'JSON of the form {"image id": ["class name", …], …}'
_COLOUR_MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK', 'YCbCr')
# Everything Pillow raises on broken files; its decoders are not consistent.
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# Annotation tools disagree on counting from 0 or 1: a border missed by one pixel is clipped, more is an error.
BORDER_TOLERANCE = 1.0


class BoxAnnotation(NamedTuple):
    """Boxes of one image.

    Attributes:
        boxes: ``(K, 4)`` float32 ``x1, y1, x2, y2`` in pixels, 0-based, half-open, inside the image.
        labels: ``(K,)`` int64, the values of ``class_to_index``.
        difficult: ``(K,)`` bool.
        size: ``(height, width)`` in pixels, as the file says.
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    size: tuple[int, int]


def read_voc_xml(path: str | Path, class_to_index: Mapping[str, int], convention: str = 'official',
                 outside: str = 'error') -> BoxAnnotation:
    """Read the boxes of a PASCAL VOC annotation.

    VOC counts pixels from 1 and includes both ends. ``'exact'`` subtracts 1 from the minima, so that
    ``[x1, x2)`` covers the same pixels; ``'official'`` takes the numbers as they stand, as BANA's code does, and
    so loses the first row and column of each box. Coordinates stay fractional where the file has fractions.

    A border that is missed by at most one pixel is clipped. A box that sticks out further is an error, since the
    boxes of another or of a resized image look like that; ``outside='clip'`` clips it and raises only when nothing
    is left of it.

    Args:
        path: The XML file.
        class_to_index: Index of each class name.
        convention: ``'official'`` or ``'exact'``.
        outside: ``'error'`` or ``'clip'``.

    Returns:
        The boxes; empty arrays for an image without objects.

    Raises:
        DataError: missing or unreadable file, no image size, unknown class, a coordinate that is no number, a box
            outside its image or without area.
        ConfigError: unknown convention or policy.
    """
    if convention not in BOX_CONVENTIONS:
        raise ConfigError(f'box_convention is {convention!r}', expected=f'one of {BOX_CONVENTIONS}')
    if outside not in OUTSIDE_POLICIES:
        raise ConfigError(f'box_outside is {outside!r}', expected=f'one of {OUTSIDE_POLICIES}')
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise DataError('no such annotation', file=path, expected='a PASCAL VOC XML file') from None
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise DataError(f'not readable as XML ({error})', file=path, expected='a PASCAL VOC annotation',
                        fix='the file may be cut short: copy it again') from None
    width = _number(root, 'size/width', path)
    height = _number(root, 'size/height', path)
    if width < 1 or height < 1:
        raise DataError(f'size is {width:g} x {height:g}', file=path, expected='width and height of the image')

    names, rows, difficult = [], [], []
    for number, node in enumerate(root.findall('object'), 1):
        name = (node.findtext('name') or '').strip()
        if name not in class_to_index:
            raise DataError(f'object {number}: unknown class name {name!r}', file=path,
                            expected='one of ' + ', '.join(class_to_index),
                            fix='correct the name, or add the class to metainfo=dict(classes=...)')
        names.append(name)
        rows.append([_number(node, f'bndbox/{key}', path, f'object {number} ({name}): ')
                     for key in ('xmin', 'ymin', 'xmax', 'ymax')])
        difficult.append((node.findtext('difficult') or '0').strip() not in ('0', ''))
    written = np.array(rows, np.float64).reshape(-1, 4)
    boxes = written - np.array([1, 1, 0, 0]) if convention == 'exact' else written
    limit = np.array([width, height, width, height])
    clipped = np.clip(boxes, 0, limit)
    for number, name in enumerate(names):
        where = f'object {number + 1} ({name}): box xmin, ymin, xmax, ymax = {_show(written[number])}'
        x1, y1, x2, y2 = boxes[number]
        if x2 <= x1 or y2 <= y1:
            raise DataError(f'{where} has no area', file=path, expected=f'xmin < xmax and ymin < ymax, read in the '
                            f'{convention!r} convention', fix='correct or delete the object')
        gone = (clipped[number, 2:] <= clipped[number, :2]).any()
        if gone or (outside == 'error' and np.abs(boxes[number] - clipped[number]).max() > BORDER_TOLERANCE):
            raise DataError(
                f'{where} lies {"" if gone else "partly "}outside the image', file=path,
                expected=f'a box inside width {width:g}, height {height:g}',
                fix='correct the object' + ('' if gone else ", or set box_outside='clip' in the dataset"))
    labels = np.array([class_to_index[name] for name in names], np.int64)
    return BoxAnnotation(clipped.astype(np.float32), labels, np.array(difficult, bool), (int(height), int(width)))


def _number(node: ElementTree.Element, tag: str, path: str | Path, where: str = '') -> float:
    text = node.findtext(tag)
    try:
        value = float(text)  # type: ignore[arg-type]
        if math.isfinite(value):
            return value
    except (TypeError, ValueError):
        pass
    found = 'is missing' if text is None else f'is {text!r}'
    raise DataError(f'{where}{tag} {found}', file=path, expected='a number of pixels')


def _show(row: np.ndarray) -> str:
    return ', '.join(f'{v:g}' for v in row)


def read_image(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """Read an image strictly: a file that is cut short is refused, never filled with grey.

    Greyscale, palette and CMYK become RGB, transparency is dropped, and the EXIF orientation is applied, as
    MMCV's readers do.

    Args:
        path: The image file.
        backend_args: MMEngine's file backend, for images that are not on the local disk.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        DataError: missing, cut short, no image, or of a pixel type that 8 bits cannot hold.
    """
    try:
        with Image.open(io.BytesIO(_read_bytes(path, backend_args, 'image'))) as picture:
            if picture.mode not in _COLOUR_MODES:
                raise DataError(f'pixel type is {picture.mode!r}', file=path, expected='an 8-bit image',
                                fix='convert it to 8-bit RGB')
            return np.array(ImageOps.exif_transpose(picture).convert('RGB'))
    except _DECODING_ERRORS as error:
        raise DataError(f'not readable as an image ({error})', file=path, expected='a whole JPEG or PNG file',
                        fix='the file may be cut short: copy or download it again') from None


def read_label_map(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """Read a label map whose pixel values (palette indices) are class ids.

    Args:
        path: 8-bit grey or palette PNG.
        backend_args: MMEngine's file backend.

    Returns:
        ``(H, W)`` uint8 segmentation ids.

    Raises:
        DataError: missing, cut short, or a colour picture.
    """
    try:
        with Image.open(io.BytesIO(_read_bytes(path, backend_args, 'label map'))) as picture:
            if picture.mode not in ('P', 'L'):
                raise DataError(f'pixel type is {picture.mode!r}', file=path,
                                expected='an 8-bit palette or grey PNG whose pixel values are class ids',
                                fix='a coloured picture has to be mapped back to class ids')
            return np.array(picture)
    except _DECODING_ERRORS as error:
        raise DataError(f'not readable as a label map ({error})', file=path, expected='a whole PNG file',
                        fix='the file may be cut short: write or copy it again') from None


def _read_bytes(path: str | Path, backend_args: dict | None, kind: str) -> bytes:
    try:
        return fileio.get(os.fspath(path), backend_args=backend_args)
    except FileNotFoundError:
        raise DataError(f'no such {kind}', file=path) from None


def find_image(folder: str | Path, image_id: str) -> Path:
    """An image's file in a folder, by its id: the file's name without a usual suffix, or the whole name.

    Raises:
        DataError: no such file.
    """
    for suffix in (*IMAGE_SUFFIXES, ''):
        if (path := Path(folder) / f'{image_id}{suffix}').is_file():
            return path
    raise DataError('no such image', file=Path(folder) / f'{image_id}.jpg', expected=' or '.join(IMAGE_SUFFIXES),
                    fix='name the folder that holds the images')


def read_id_list(path: str | Path) -> list[str]:
    """Read image ids, one a line; blank lines are skipped and an id named twice counts once.

    Raises:
        DataError: no such file, not text, or no id in it.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'not readable as a list of image ids ({error})', file=path,
                        expected='a text file with one image id a line') from None
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise DataError('the split is empty', file=path, expected='one image id a line',
                        fix='check the path, or write the ids into it')
    return ids


def read_tags(path: str | Path) -> dict[str, list[str]]:
    """Read image tags, ``{image id: [class names]}``; an empty list stands for an image without any class.

    Raises:
        DataError: no such file, not JSON, of another form, or an image named twice.
    """
    try:
        found = json.loads(Path(path).read_text(encoding='utf-8'), object_pairs_hook=each_once)
    except (OSError, ValueError, RecursionError) as error:   # the last of lists in lists in lists …
        raise DataError(f'not readable as image tags ({error})', file=path, expected=_TAG_FORM) from None
    if not isinstance(found, dict):
        raise DataError(f'holds a {type(found).__name__}', file=path, expected=_TAG_FORM)
    for image_id, names in found.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f'image {image_id!r} has {json.dumps(names)[:80]}', file=path, expected=_TAG_FORM,
                            fix='write the names of the classes, not their numbers')
    return found


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """``object_pairs_hook`` of JSON in which no object may have a key twice.

    Raises:
        ValueError: one has.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f'{twice!r} is there twice')
    return found
