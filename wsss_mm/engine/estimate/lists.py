"""Lists of images: how many they name, and a small deterministic choice of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsss_mm.datasets.label_readers import read_id_list
from wsss_mm.datasets.supervision import hash_order
from wsss_mm.errors import DataError

_KEYS = ('ann_file', 'mask_ann_file', 'extra_ann_file')
# Images of the public lists, for data that are not here yet.
PUBLIC_COUNTS = dict(
    voc=dict(train=1464, val=1449, trainval=2913, trainaug=10582, test=1456),
    coco=dict(train=82783, train_objects=82081, val=40504),
    coco17=dict(instances_train2017=118287, instances_val2017=5000, train2017=118287, val2017=5000))


def list_files(node: Any) -> Iterator[str]:
    """Every list of images that a config's part names: id lists and COCO files, joined with its ``data_root``."""
    if isinstance(node, Mapping):
        root = node.get('data_root') or ''
        if not str(node.get('type', '')).endswith('OoDImages'):   # clusters need them all
            for key in _KEYS:
                names = node.get(key) or ()
                for name in [names] if isinstance(names, str) else names:
                    if Path(str(name)).suffix in ('.txt', '.json'):
                        yield str(Path(root) / name)
        for value in node.values():
            yield from list_files(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from list_files(value)


def ids_of(path: str | Path) -> list[str]:
    """Image ids of an id list, or of a COCO file (the stems of its images); empty where there is no such file.

    Of a COCO file nothing but the images' names is kept while it is parsed.
    """
    path = Path(path)
    if not path.is_file():
        return []
    if path.suffix == '.json':
        found = _parse(path, lambda node: node if 'images' in node else _name_of(node))
        return [name for name in found.get('images', ()) if isinstance(name, str)]
    try:
        return read_id_list(path)
    except DataError:   # an empty list, as of a split that was not drawn
        return []


def _name_of(node: Mapping[str, Any]) -> str | None:
    return Path(node['file_name']).stem if 'file_name' in node else None


def _parse(path: Path, hook: Any) -> Any:
    with open(path, encoding='utf-8') as stream:
        try:
            return json.load(stream, object_hook=hook)
        except ValueError:
            return {}


def choose(lists: Iterable[Iterable[str]], count: int) -> set[str]:
    """The first ``count`` ids of each list, by the hash of the ids: a subset's choice is mostly in the whole's."""
    return {image_id for ids in lists for image_id in hash_order(ids)[:count]}


def reduced(path: str | Path, keep: set[str]) -> bytes:
    """A list with some of its ids, in the same format; with its first where none is left.

    Args:
        path: Id list or COCO file.
        keep: Ids to keep.
    """
    path = Path(path)
    if path.suffix != '.json':
        ids = ids_of(path)
        kept = [image_id for image_id in ids if image_id in keep] or ids[:1]
        return ''.join(f'{image_id}\n' for image_id in kept).encode()
    found = _parse(path, lambda node: None if 'image_id' in node else node)
    images = [image for image in found['images'] if Path(image['file_name']).stem in keep] or found['images'][:1]
    numbers = {image['id'] for image in images}
    full = _parse(path, lambda node: None if node.get('image_id', next(iter(numbers))) not in numbers else node)
    return json.dumps({**found, 'images': images, 'annotations': [a for a in full['annotations'] if a]}).encode()


def public_count(kind: str, paths: Iterable[str]) -> int | None:
    """Number of images that lists of VOC or COCO name; None where one is not known by its name."""
    counts = PUBLIC_COUNTS.get(kind, {})
    found = [counts.get(Path(p).stem.removeprefix('boxes_').removeprefix('instances_') if kind == 'voc'
                        else Path(p).stem) for p in paths]
    return sum(v for v in found if v is not None) if found and None not in found else None
