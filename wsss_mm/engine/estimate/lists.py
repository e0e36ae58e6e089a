"""Lists of images: how many they name, and a small deterministic choice of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsss_mm.datasets.json_stream import stream_lists
from wsss_mm.datasets.label_readers import read_id_list
from wsss_mm.datasets.prepare_coco import COCO17_COUNTS, COCO_COUNTS, EMPTY_IMAGES
from wsss_mm.datasets.prepare_voc import VOC_COUNTS, VOC_TRAINVAL
from wsss_mm.datasets.supervision import hash_order
from wsss_mm.errors import DataError

_KEYS = ('ann_file', 'mask_ann_file', 'extra_ann_file')
# Images of the public lists, for data that are not here yet.
PUBLIC_COUNTS = dict(
    voc=VOC_COUNTS | dict(trainval=VOC_TRAINVAL, test=1456),
    coco=COCO_COUNTS | dict(train_objects=COCO_COUNTS['train'] - EMPTY_IMAGES['train']),
    coco17=COCO17_COUNTS)


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


def split_of(path: str | Path) -> str:
    """The list that a file is of: ``train`` for ``train.txt``, ``boxes_train.json``, ``instances_train.json``."""
    return Path(path).stem.removeprefix('boxes_').removeprefix('instances_')


def ids_of(path: str | Path) -> list[str]:
    """Image ids of an id list, or of a COCO file (the stems of its images); empty where there is no such file."""
    path, found = Path(path), list[str]()
    if not path.is_file():
        return []
    try:
        if path.suffix != '.json':
            return read_id_list(path)   # an error: an empty list, as of a split that was not drawn
        stream_lists(path, dict(images=lambda image: found.append(Path(image['file_name']).stem)))
    except (DataError, ValueError, KeyError, TypeError):
        return []
    return found


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
    content: dict[str, list] = dict(images=[], categories=[], annotations=[])
    stream_lists(path, {name: content[name].append for name in ('images', 'categories')})
    images = content['images']
    content['images'] = [image for image in images if Path(image['file_name']).stem in keep] or images[:1]
    numbers = {image['id'] for image in content['images']}
    stream_lists(path, dict(annotations=lambda one: content['annotations'].append(one)
                            if one['image_id'] in numbers else None))
    return json.dumps(content).encode()


def public_count(kind: str, paths: Iterable[str]) -> int | None:
    """Number of images that lists of VOC or COCO name; None where one is not known by its name."""
    counts = PUBLIC_COUNTS.get(kind, {})
    found = [counts.get(split_of(p)) for p in paths]
    return sum(v for v in found if v is not None) if found and None not in found else None
