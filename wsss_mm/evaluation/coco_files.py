"""COCO files to score: reading, checking, run lengths."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from wsss_mm.datasets.json_stream import stream_lists
from wsss_mm.errors import DataError
from wsss_mm.run_lengths import decode_mask, mask_api

SIZES = (32., 96.)                       # sides that part COCO's small, medium and large objects
SIZE_NAMES = ('small', 'medium', 'large')


def read_coco(path: str | Path) -> Any:
    """A COCO file: a dict of ``images``, ``annotations``, ``categories``, or a list of results.

    Raises:
        DataError: missing, cut short, or something else.
    """
    found: Any = {name: [] for name in ('images', 'annotations', 'categories')}
    problem = DataError('not a COCO file', file=path, expected='images, annotations and categories, each a list of '
                        'objects; or, for predictions, one list of results')
    try:
        if _begins_with_list(path):
            with open(path, encoding='utf-8') as stream:
                found = json.load(stream, object_hook=_pack)
        else:
            stream_lists(path, {name: entries.append for name, entries in found.items()}, _pack)
    except OSError as error:
        raise DataError(f'cannot be read ({error.strerror})', file=path, expected='a COCO file (JSON)',
                        fix='finish the run that writes it, or name another file') from None
    except ValueError as error:
        raise DataError(f'not readable as JSON ({error})', file=path, expected='a whole COCO file',
                        fix='make or copy it anew; it may have been cut short') from None
    except (KeyError, TypeError):
        raise problem from None
    if not all(isinstance(x, dict) for entries in ([found] if isinstance(found, list) else found.values())
               for x in entries):
        raise problem
    return found


def _begins_with_list(path: str | Path) -> bool:
    with open(path, encoding='utf-8') as stream:
        return stream.read(4096).lstrip().startswith('[')


def _pack(node: dict[str, Any]) -> dict[str, Any]:
    """Outlines as arrays, a quarter of the memory of lists of numbers; what is none stays, and is refused later."""
    outlines = node.get('segmentation')
    if isinstance(outlines, list) and all(isinstance(outline, list) and len(outline) > 4 for outline in outlines):
        with contextlib.suppress(TypeError, ValueError):
            node['segmentation'] = [np.array(outline, np.float64) for outline in outlines]
    return node


def read_truth(path: str | Path) -> dict[str, Any]:
    """A COCO file with true objects; every annotation has an image, a category, an area and ``iscrowd``.

    Raises:
        DataError: as :func:`read_coco`; a field is missing, an id is there twice, or an annotation's image or category
            is not there; no annotation.
    """
    found = read_coco(path)
    if isinstance(found, list):
        raise DataError('a list of results, not true objects', file=path,
                        expected='images, annotations and categories')
    images, categories = index(found['images'], path, 'image'), index(found['categories'], path, 'category')
    index(found['annotations'], path, 'annotation')
    for a in found['annotations']:
        a.setdefault('iscrowd', 0)
        require(a, ('image_id', 'category_id', 'bbox'), path)
        named = all(isinstance(a[k], (int, str)) for k in ('image_id', 'category_id'))
        if not named or a['image_id'] not in images or a['category_id'] not in categories:
            raise DataError(f'annotation {a["id"]} is of image {a["image_id"]} and category {a["category_id"]}, which '
                            'are not both listed', file=path, expected='ids of images and categories of the file')
    if not found['annotations']:
        raise DataError('no annotation', file=path, expected='at least one true object')
    return found


def index(entries: Sequence[Mapping[str, Any]], path: str | Path, what: str) -> dict[Any, Mapping[str, Any]]:
    """Entries by their ``id``.

    Raises:
        DataError: an entry without one, or two with the same.
    """
    found: dict[Any, Mapping[str, Any]] = {}
    for entry in entries:
        require(entry, ('id', ), path)
        if not isinstance(entry['id'], (int, str)):
            raise DataError(f'{what} id {str(entry["id"])[:40]!r}', file=path, expected='a number')
        if entry['id'] in found:
            raise DataError(f'{what} id {entry["id"]} is there twice', file=path, expected='ids that are there once')
        found[entry['id']] = entry
    return found


def require(entry: Mapping[str, Any], fields: Sequence[str], path: str | Path) -> None:
    """Refuse an entry that lacks a field.

    Raises:
        DataError: naming entry and field.
    """
    if missing := [f for f in fields if f not in entry]:
        raise DataError(f'no `{missing[0]}` in {_short(entry)}', file=path, expected=f'the fields {", ".join(fields)}')


def same_categories(truth: Sequence[Mapping[str, Any]], made: Sequence[Mapping[str, Any]], path: str | Path
                    ) -> dict[Any, Any]:
    """True category id by the other file's, by name.

    Raises:
        DataError: a name that the truth has not.
    """
    by_name = {c.get('name'): c['id'] for c in truth}
    strange = [str(c.get('name')) for c in made if c.get('name') not in by_name]
    if strange:
        raise DataError(f'categories {", ".join(strange[:5])}, which the truth has not', file=path,
                        expected=', '.join(map(str, by_name)), fix='score files of the same classes')
    return {c['id']: by_name[c['name']] for c in made}


def stem(image: Mapping[str, Any]) -> str:
    """Image id as in a list file: the file name without folder and suffix."""
    return PurePath(str(image.get('file_name', image['id']))).stem


def choose_images(truth: Mapping[str, Any], ids: Sequence[str] | None, path: str | Path) -> dict[Any, str]:
    """Stems of the truth's images by their id, or of those in a list.

    Raises:
        DataError: a listed image that is not there.
    """
    stems = {i['id']: stem(i) for i in truth['images']}
    if ids is None:
        return stems
    missing = sorted(set(ids) - set(stems.values()))
    if missing:
        raise DataError(f'{len(missing)} of {len(set(ids))} listed images are not there: {", ".join(missing[:3])}'
                        f'{" …" if len(missing) > 3 else ""}', file=path, expected='file names of the listed ids')
    wanted = set(ids)
    return {i: name for i, name in stems.items() if name in wanted}


def run_lengths_of(annotation: Mapping[str, Any], image: Mapping[str, Any], path: str | Path,
                   field: str = 'segmentation') -> dict[str, Any]:
    """Run lengths of an annotation's mask, given as polygons or as run lengths, compressed or not.

    Raises:
        DataError: no mask, one of another size than the image, or one that cannot be read.
    """
    require(image, ('height', 'width'), path)
    api, given, size = mask_api(), annotation.get(field), (image['height'], image['width'])
    problem = 'no mask'
    try:
        if isinstance(given, dict):
            decode_mask(given, *size)   # pycocotools reads on past the end of broken ones
            return given if isinstance(given['counts'], (str, bytes)) else api.frPyObjects(given, *size)
        if given:
            return api.merge(api.frPyObjects(given, *size))
    except DataError as error:
        problem = error.problem
    except Exception as error:   # pycocotools raises whatever comes
        problem = f'polygons that cannot be read ({error})'
    raise DataError(f'{problem} in `{field}` of {_short(annotation)}', file=path,
                    expected=f'polygons or run lengths of {list(size)} (height, width)')


def size_of(area: float, sizes: Sequence[float] = SIZES) -> str:
    """``'small'``, ``'medium'`` or ``'large'`` by an area in pixels; the bounds are sides of squares."""
    return SIZE_NAMES[sum(area >= side ** 2 for side in sizes)]


def _short(entry: Mapping[str, Any]) -> str:
    return f'the entry {entry["id"]}' if 'id' in entry else f'the entry of image {entry.get("image_id", "?")}'
