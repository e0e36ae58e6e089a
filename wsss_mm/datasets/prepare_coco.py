"""COCO 2014 and 2017 with COCO-Stuff's pixelmaps: image tags (2014), lists, 81-class masks, check.

The result of 2014 is what :class:`~wsss_mm.datasets.WeakCOCODataset` reads: ``image_tags.json``,
``ImageSets/Segmentation/{train,train_objects,val}.txt`` and ``SegmentationClass/<image id>.png``. Everything can be
interrupted and taken up again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from wsss_mm import files
from wsss_mm.datasets.coco import CATEGORIES, PALETTE, TAG_FILE
from wsss_mm.datasets.json_stream import stream_lists
from wsss_mm.datasets.label_readers import IGNORED, LISTS, read_id_list, read_label_map, read_tags
from wsss_mm.errors import DataError

COCO_COUNTS = dict(train=82783, val=40504)
COCO17_COUNTS = dict(train2017=118287, val2017=5000)
# Of the files as COCO published them. Both years share out the same images: 1,069 empty ones, 896,782 annotations.
EMPTY_IMAGES = dict(train=702, val=367, train2017=1021, val2017=48)
ANNOTATIONS = dict(train2017=860001, val2017=36781)
_MASKS = 'SegmentationClass'
_STUFF = range(92, 183)   # COCO-Stuff's category ids; 1…91 are things, of which 80 exist
_UNKNOWN = 254
_SHOWN = 3


def _mask_table() -> np.ndarray:
    table = np.full(256, _UNKNOWN, np.uint8)
    table[np.array(list(CATEGORIES)) - 1] = np.arange(1, len(CATEGORIES) + 1)
    table[np.array(_STUFF) - 1] = 0
    table[IGNORED] = IGNORED
    return table


_TABLE = _mask_table()


def read_instances(path: str | Path) -> dict[str, list[str]]:
    """Tags of the images of ``instances_<split><year>.json``.

    A class is present if it has any annotation, crowds included. The file is parsed object by object; ids and classes
    alone are kept.

    Args:
        path: The JSON file.

    Returns:
        Per image id (file stem, sorted) its class names in the order of their ids.

    Raises:
        DataError: missing, not such a file, or other categories than COCO's 80.
    """
    year = '2017' if Path(path).stem.endswith('2017') else '2014'
    fix = f'they are in annotations_trainval{year}.zip; unpack it in the data folder'
    names: dict[int, str] = {}
    stems: dict[int, str] = {}
    present: dict[int, set[int]] = {}
    try:
        stream_lists(path, dict(
            categories=lambda c: names.update({c['id']: str(c['name'])}),
            images=lambda image: stems.update({image['id']: Path(image['file_name']).stem}),
            annotations=lambda pair: present.setdefault(pair[0], set()).add(pair[1])), _short)
        if strange := present.keys() - stems.keys():
            raise KeyError(min(strange))
    except FileNotFoundError:
        raise DataError('the COCO instances are not there', file=path, fix=fix) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f'not readable as COCO instances ({type(error).__name__}: {error})', file=path,
                        expected=f'instances_train{year}.json or instances_val{year}.json', fix=fix) from None
    if names != CATEGORIES:
        other = sorted(f'{i} {n}' for i, n in set(names.items()) ^ set(CATEGORIES.items()))
        raise DataError(f'other categories than COCO\'s 80: {", ".join(other[:_SHOWN])} …', file=path,
                        expected=f'the ids and names of COCO {year}')
    if unknown := [c for found in present.values() for c in found if c not in CATEGORIES]:
        raise DataError(f'an annotation of the category {unknown[0]!r}', file=path, expected="COCO's 80 categories",
                        fix=fix)
    tags = {stem: [CATEGORIES[c] for c in sorted(present.get(number, ()))] for number, stem in stems.items()}
    return dict(sorted(tags.items()))


def _short(node: dict[str, Any]) -> Any:
    return (node['image_id'], node['category_id']) if 'category_id' in node else node


def write_lists(root: str | Path) -> dict[str, tuple[int, int]]:
    """Write tags and id lists from ``annotations/instances_{train,val}2014.json``.

    Images without any object stay in ``train.txt`` and ``val.txt``, with empty tags; ``train_objects.txt`` leaves
    them out.

    Returns:
        ``(images, images without any object)`` of train and val.

    Raises:
        DataError: as of :func:`read_instances`, or a split without images.
    """
    root, counts, all_tags = Path(root), {}, {}
    for split in COCO_COUNTS:
        tags = read_instances(root / f'annotations/instances_{split}2014.json')
        lists = {split: list(tags)}
        if split == 'train':
            lists['train_objects'] = [image_id for image_id, names in tags.items() if names]
        for name, ids in lists.items():
            files.write_atomic(root / f'{LISTS}/{name}.txt', ''.join(f'{i}\n' for i in ids).encode())
        counts[split] = len(tags), sum(not names for names in tags.values())
        all_tags.update(tags)
    lines = (f'{json.dumps(image_id)}: {json.dumps(names)}' for image_id, names in all_tags.items())
    files.write_atomic(root / TAG_FILE, ('{\n' + ',\n'.join(lines) + '\n}\n').encode())
    return counts


def convert_pixelmaps(root: str | Path, stuff: str | Path, progress: Callable[[int, int], None] | None = None,
                      workers: int | None = None, splits: Iterable[str] = tuple(COCO_COUNTS)) -> int:
    """Write ``SegmentationClass``: the 80 classes of COCO as 1…80, stuff as 0, unlabelled pixels as 255.

    Masks that are there stay, since each is written whole or not at all.

    Args:
        root: The data folder, its lists written.
        stuff: COCO-Stuff's pixelmaps (category id - 1; 255 unlabelled), ``<12 digits>.png`` in this folder or one
            below it, as ``train2017``; the digits are the images' own ids, the same in 2014 and 2017.
        progress: Called with (done, total) after each mask.
        workers: Processes; all cores by default.
        splits: Lists whose images get masks, named by their ids: 2014's, or those of :data:`COCO17_COUNTS`.

    Returns:
        The number of masks written.

    Raises:
        DataError: a pixelmap is missing, unreadable, or holds other ids.
    """
    root, target = Path(root), Path(root) / _MASKS
    sources = _pixelmaps(stuff)
    target.mkdir(exist_ok=True)
    files.remove_leftovers(target)
    there = {path.stem for path in target.glob('*.png')}
    ids = [i for split in splits for i in read_id_list(root / f'{LISTS}/{split}.txt')]
    missing = [i for i in ids if i not in there and _number(i) not in sources]
    if missing:
        shown = ', '.join(f'{_number(i):012d}.png' for i in missing[:_SHOWN])
        raise DataError(f'{len(missing)} of {len(ids)} pixelmaps are missing, as {shown}', file=stuff,
                        expected='train2017 and val2017 of COCO-Stuff below it',
                        fix='unpack stuffthingmaps_trainval2017.zip there, or name its place with --stuff')
    jobs = [(sources[_number(i)], str(target / f'{i}.png')) for i in ids if i not in there]
    finished = repeat(None, len(ids) - len(jobs))
    for done, _ in enumerate(chain(finished, _results(jobs, workers or os.cpu_count() or 1)), 1):
        if progress:
            progress(done, len(ids))
    return len(jobs)


def convert_pixelmap(labels: np.ndarray, path: str | Path) -> np.ndarray:
    """One pixelmap of COCO-Stuff as segmentation ids.

    Args:
        labels: ``(H, W)`` uint8, category id - 1, 255 unlabelled.
        path: Named in the error.

    Raises:
        DataError: ids that COCO-Stuff has not.
    """
    mask = _TABLE[labels]
    if (mask == _UNKNOWN).any():
        unknown = np.unique(labels[mask == _UNKNOWN]) + 1
        raise DataError(f'holds the category ids {unknown.tolist()}', file=path,
                        expected="COCO-Stuff's maps of things and stuff: category id - 1, and 255",
                        fix='take stuffthingmaps_trainval2017.zip; maps of stuff alone have no things')
    return mask


def _convert_one(job: tuple[str, str]) -> None:
    source, target = job
    files.write_atomic(target, files.label_png(convert_pixelmap(read_label_map(source), source), PALETTE))


def _results(jobs: list[tuple[str, str]], workers: int) -> Iterator[None]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_convert_one, jobs)
        return
    method = 'fork' if sys.platform.startswith('linux') else 'spawn'
    with multiprocessing.get_context(method).Pool(min(workers, len(jobs))) as pool:
        yield from pool.imap_unordered(_convert_one, jobs, chunksize=16)


def _number(image_id: str) -> int:
    return int(image_id.rsplit('_', 1)[-1])


def _pixelmaps(stuff: str | Path) -> dict[int, str]:
    found = {}
    for folder in (Path(stuff), *Path(stuff).glob('*/')):
        if folder.is_dir():
            found.update({int(e.name[:-4]): e.path for e in os.scandir(folder)
                          if e.name.endswith('.png') and e.name[:-4].isdigit()})
    return found


def check_coco(root: str | Path, expected: Mapping[str, int] | None = None) -> list[str]:
    """Look for every file of COCO 2014 as prepared here.

    Args:
        root: The data folder.
        expected: Number of ids per split, by default COCO's.

    Returns:
        What is missing or wrong, one sentence each; empty if all is well.
    """
    root, findings = Path(root), []
    folders = {f'{split}2014': '.jpg' for split in COCO_COUNTS} | {_MASKS: '.png'}
    there = {name: {path.stem for path in (root / name).glob(f'*{suffix}')} for name, suffix in folders.items()}
    try:
        tags = read_tags(root / TAG_FILE)
        lists = {split: read_id_list(root / f'{LISTS}/{split}.txt') for split in COCO_COUNTS}
    except DataError as error:
        return [f'{error.file}: {error.problem}: python tools/prepare_dataset.py coco --root {root}']
    for split, count in (expected or COCO_COUNTS).items():
        ids = lists[split]
        if len(ids) != count:
            findings.append(f'{root / LISTS / split}.txt: holds {len(ids)} ids, expected {count}')
        images = f'{split}2014'
        for name, known in ((images, there[images]), (_MASKS, there[_MASKS]), (TAG_FILE, tags.keys())):
            absent = [image_id for image_id in ids if image_id not in known]
            if absent:
                findings.append(f'{root / name}: {len(absent)} of {len(ids)} images of {split} are not there, as '
                                + ', '.join(absent[:_SHOWN]))
    return findings


def write_lists_2017(root: str | Path) -> dict[str, tuple[int, int]]:
    """Write the id lists ``train2017``, ``train2017_objects`` (images with any object) and ``val2017``.

    COCO 2017's own files are read as they are, by :class:`~wsss_mm.datasets.CocoBoxDataset` and by MMDetection.

    Returns:
        ``(images, images without any object)`` of each split.

    Raises:
        DataError: as of :func:`read_instances`.
    """
    root, counts = Path(root), {}
    for split in COCO17_COUNTS:
        tags = read_instances(root / f'annotations/instances_{split}.json')
        lists = {split: list(tags)}
        if split.startswith('train'):
            lists[f'{split}_objects'] = [image_id for image_id, names in tags.items() if names]
        for name, ids in lists.items():
            files.write_atomic(root / f'{LISTS}/{name}.txt', ''.join(f'{i}\n' for i in ids).encode())
        counts[split] = len(tags), sum(not names for names in tags.values())
    return counts


def check_coco17(root: str | Path, expected: Mapping[str, int] | None = None) -> list[str]:
    """Look for every image of COCO 2017, by the lists of :func:`write_lists_2017`.

    Args:
        root: The data folder.
        expected: Number of ids per split, by default COCO's.

    Returns:
        What is missing or wrong, one sentence each; empty if all is well.
    """
    root, findings = Path(root), []
    for split, count in (expected or COCO17_COUNTS).items():
        try:
            ids = read_id_list(root / f'{LISTS}/{split}.txt')
        except DataError as error:
            findings.append(f'{error.file}: {error.problem}: python tools/prepare_dataset.py coco --year 2017 --root '
                            f'{root}')
            continue
        if len(ids) != count:
            findings.append(f'{root / LISTS / split}.txt: holds {len(ids)} ids, expected {count}')
        there = {path.stem for path in (root / split).glob('*.jpg')}
        absent = [image_id for image_id in ids if image_id not in there]
        if absent:
            findings.append(f'{root / split}: {len(absent)} of {len(ids)} images are not there, as '
                            + ', '.join(absent[:_SHOWN]))
    return findings
