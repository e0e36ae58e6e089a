"""What there is to check: lists, classes and the files of each image, by the folder's kind or by a config."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import PascalVOCDataset

from wsss_mm import files
from wsss_mm.datasets import prepare_coco
from wsss_mm.datasets.check.image import ImageJob
from wsss_mm.datasets.check.problems import Problem
from wsss_mm.datasets.coco import CATEGORIES, PALETTE, TAG_FILE
from wsss_mm.datasets.coco_boxes import CocoFile, read_coco_boxes
from wsss_mm.datasets.label_readers import LISTS, read_id_list, read_tags
from wsss_mm.datasets.own_data.layout import MARKER as OWN_MARKER
from wsss_mm.datasets.prepare_voc import AUG_FOLDER, VOC_COUNTS, VOC_TRAINVAL
from wsss_mm.datasets.toy_voc import TOY_CLASSES
from wsss_mm.datasets.toy_voc.writer import MARKER as TOY_MARKER
from wsss_mm.datasets.toy_voc.writer import voc_palette
from wsss_mm.errors import DataError

_FOLDERS = ('JPEGImages', 'Annotations', 'SegmentationClass', LISTS)
_WHERE = dict(
    JPEGImages='it is in VOCtrainval_11-May-2012.tar; unpack that so that VOCdevkit/VOC2012 becomes this folder',
    SegmentationClassAug='python tools/prepare_dataset.py voc --root {root} --sbd <benchmark_RELEASE of SBD>')
_SHOWN = 3


@dataclass
class Layout:
    """A data set to check.

    Attributes:
        title: What it was taken for.
        root: Its folder, or the config's file.
        classes: Names, background first.
        splits: Image ids by list.
        job: Gives the files of an image.
        palette: ``(C, 3)`` RGB per class.
        published: Known to all as it is: images that are there twice are no fault of the folder's.
        problems: What is wrong with lists and folders.
    """

    title: str
    root: Path
    classes: tuple[str, ...]
    splits: dict[str, list[str]]
    job: Callable[[str], ImageJob]
    palette: np.ndarray
    published: bool = False
    problems: list[Problem] = field(default_factory=list)

    def ids(self) -> list[str]:
        """Every image once, those for training first."""
        names = sorted(self.splits, key=lambda name: not is_training(name))
        return list(dict.fromkeys(i for name in names for i in self.splits[name]))


def is_training(split: str) -> bool:
    """Whether a list is learned from, by its name."""
    return split.startswith('train') and split != 'trainval'


def is_scored(split: str) -> bool:
    """Whether a list is scored, by its name."""
    return split.startswith(('val', 'test'))


def leaks(splits: Mapping[str, list[str]]) -> list[Problem]:
    """Images that are both learned from and scored, by their ids."""
    found = []
    for name in filter(is_training, splits):
        for other in filter(is_scored, splits):
            if leaked := sorted(set(splits[name]) & set(splits[other])):
                found.append(Problem('leak', f'{name}.txt holds {len(leaked)} images of {other}, as '
                                     + ', '.join(leaked[:_SHOWN])))
    return found


def layouts_of(root: str | Path, year: str | None = None) -> list[Layout]:
    """The data sets of a folder, by its markers: one's own, toy VOC, COCO 2014 and 2017, or PASCAL VOC 2012.

    Args:
        root: The folder.
        year: ``'2014'`` or ``'2017'``: COCO's of that year.

    Raises:
        DataError: a marker that cannot be read.
    """
    root = Path(root)
    if (root / OWN_MARKER).is_file():
        return [own_layout(root)]
    if (root / TOY_MARKER).is_file():
        return [voc_layout(root, TOY_CLASSES, {p.stem: 0 for p in sorted((root / LISTS).glob('*.txt'))}, 'toy VOC')]
    of_2017 = (root / 'annotations/instances_train2017.json').is_file()
    years = [year] if year else [y for y, there in (('2014', (root / TAG_FILE).is_file()), ('2017', of_2017)) if there]
    if years:
        return [coco14_layout(root) if y == '2014' else coco17_layout(root) for y in years]
    return [voc_layout(root)]


def voc_layout(root: Path, classes: Sequence[str] = PascalVOCDataset.METAINFO['classes'],
               expected: Mapping[str, int] | None = None, title: str = 'PASCAL VOC 2012') -> Layout:
    """A folder in VOC's layout in which every image has boxes and a mask.

    Args:
        root: The folder.
        classes: Names, background first.
        expected: Number of ids per list; 0 for any. By default VOC's train, val and trainaug.
        title: Its name.
    """
    published = expected is None
    if expected is None:
        trainval = (root / LISTS / 'trainval.txt').is_file()
        expected = VOC_COUNTS | (dict(trainval=VOC_TRAINVAL) if trainval else {})
    problems = [Problem('lists', f'{root / folder} is missing: '
                        + _WHERE.get(folder, _WHERE['JPEGImages']).format(root=root))
                for folder in _FOLDERS if not (root / folder).is_dir()]
    splits = {} if problems else _read_splits(root, expected, problems)
    # train and val have VOC's own masks; the rest of trainaug has SBD's
    own = set().union(*(members for name, members in splits.items() if name != 'trainaug'))

    def job(image_id: str) -> ImageJob:
        folder = 'SegmentationClass' if image_id in own else AUG_FOLDER
        return ImageJob(image_id, str(root / f'JPEGImages/{image_id}.jpg'),
                        xml=str(root / f'Annotations/{image_id}.xml'), mask=str(root / f'{folder}/{image_id}.png'))
    return Layout(title, root, tuple(classes), splits, job, voc_palette()[:len(classes)], published, problems)


def own_layout(root: Path) -> Layout:
    """One's own data, as ``tools/prepare_dataset.py custom`` lays them out: any labels for any image.

    Images of ``<list>_boxes.txt`` and ``<list>_masks.txt`` need what the name says.

    Raises:
        DataError: ``dataset.json`` is not such a file.
    """
    marker = root / OWN_MARKER
    found = files.read_json(marker)
    names = found.get('classes') if isinstance(found, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError('no `classes`', file=marker, expected='{"classes": ["cat", "dog"], …}, without background',
                        fix='write the data set anew with tools/prepare_dataset.py custom')
    classes = ('background', *(name for name in names if name != 'background'))
    problems: list[Problem] = []
    splits = _read_splits(root, {p.stem: 0 for p in sorted((root / LISTS).glob('*.txt'))}, problems)
    if not splits and not problems:
        problems.append(Problem('lists', f'{root / LISTS}: no list of images'))
    images = {name.rpartition('.')[0]: name for name in _names(root / 'JPEGImages') if not name.startswith('.')}
    annotated, segmented = ({name[:-4] for name in _names(root / folder) if name.endswith(suffix)}
                            for folder, suffix in (('Annotations', '.xml'), ('SegmentationClass', '.png')))
    annotated |= {i for name, ids in splits.items() if name.endswith('_boxes') for i in ids}
    segmented |= {i for name, ids in splits.items() if name.endswith('_masks') for i in ids}
    tags = _tags_of(root, problems)
    listed = set().union(*splits.values())
    if loose := sorted(images.keys() - listed):
        problems.append(Problem('unlisted', f'{len(loose)} of {len(images)} images are in no list, as '
                                + ', '.join(loose[:_SHOWN])))

    def job(image_id: str) -> ImageJob:
        name = images.get(image_id, f'{image_id}.jpg')
        own = tags.get(image_id)
        return ImageJob(image_id, str(root / 'JPEGImages' / name),
                        xml=str(root / f'Annotations/{image_id}.xml') if image_id in annotated else None,
                        mask=str(root / f'SegmentationClass/{image_id}.png') if image_id in segmented else None,
                        tags=None if own is None else tuple(own))
    return Layout('own data', root, classes, splits, job, voc_palette()[:len(classes)], problems=problems)


def coco14_layout(root: Path) -> Layout:
    """COCO 2014 as ``tools/prepare_dataset.py coco`` lays it out."""
    problems = [Problem('lists', text) for text in prepare_coco.check_coco(root)]
    splits = _lists_there(root, prepare_coco.COCO_COUNTS)
    tags = _tags_of(root, [])
    for split, ids in splits.items():
        if len(ids) == prepare_coco.COCO_COUNTS[split]:
            _compare(problems, split, 'images without any object', sum(not tags.get(i) for i in ids),
                     prepare_coco.EMPTY_IMAGES)

    def job(image_id: str) -> ImageJob:
        folder = image_id.split('_')[1] if image_id.count('_') == 2 else ''
        names = tags.get(image_id)
        return ImageJob(image_id, str(root / folder / f'{image_id}.jpg'), tags=None if names is None else tuple(names),
                        mask=str(root / f'SegmentationClass/{image_id}.png'))
    return Layout('COCO 2014', root, ('background', *CATEGORIES.values()), splits, job, np.array(PALETTE, np.uint8),
                  True, problems)


def coco17_layout(root: Path) -> Layout:
    """COCO 2017 with its own files of boxes, and lists by ``tools/prepare_dataset.py coco --year 2017``.

    Raises:
        DataError: a COCO file that cannot be read.
    """
    problems = [Problem('lists', text) for text in prepare_coco.check_coco17(root)]
    splits = _lists_there(root, prepare_coco.COCO17_COUNTS)
    rows: dict[str, tuple] = {}
    for split, ids in splits.items():
        path = root / f'annotations/instances_{split}.json'
        found = read_coco_boxes(path)
        try:
            rows.update(_coco_rows(found, root / split))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f'a bbox that is none ({type(error).__name__}: {error})', file=path,
                            expected='x, y, width, height in pixels') from None
        if len(ids) == prepare_coco.COCO17_COUNTS[split]:
            of_image = [len(items) for items in found.annotations.values()]
            _compare(problems, split, 'images without any object', of_image.count(0), prepare_coco.EMPTY_IMAGES)
            _compare(problems, split, 'annotations', sum(of_image), prepare_coco.ANNOTATIONS)
    masks = {name[:-4] for name in _names(root / 'SegmentationClass') if name.endswith('.png')}

    def job(image_id: str) -> ImageJob:
        image, size, names, boxes = rows.get(image_id, (str(root / f'{image_id}.jpg'), None, None, None))
        return ImageJob(image_id, image, names=names, boxes=boxes, size=size, clip=True,
                        mask=str(root / f'SegmentationClass/{image_id}.png') if image_id in masks else None)
    return Layout('COCO 2017', root, ('background', *CATEGORIES.values()), splits, job, np.array(PALETTE, np.uint8),
                  True, problems)


def _compare(problems: list[Problem], split: str, what: str, found: int, published: Mapping[str, int]) -> None:
    if found != published[split]:
        problems.append(Problem('counts', f'{split}: {found} {what}, COCO published {published[split]}'))


def _coco_rows(found: CocoFile, folder: Path) -> Iterable[tuple[str, tuple]]:
    for image in found.images:
        single = [a for a in found.annotations[image['id']] if not a.get('iscrowd')]
        yield Path(image['file_name']).stem, (
            str(folder / image['file_name']), (int(image['height']), int(image['width'])),
            tuple(found.categories[a['category_id']] for a in single), tuple(corners(a['bbox']) for a in single))


def corners(box: Sequence[float]) -> tuple[float, ...]:
    """COCO's ``x, y, width, height`` as ``x1, y1, x2, y2``."""
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height


def _tags_of(root: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        return read_tags(root / TAG_FILE) if (root / TAG_FILE).is_file() else {}
    except DataError as error:
        problems.append(Problem('tags', f'{error.file}: {error.problem}'))
        return {}


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _lists_there(root: Path, names: Iterable[str]) -> dict[str, list[str]]:
    paths = {name: root / f'{LISTS}/{name}.txt' for name in names}
    return {name: read_id_list(path) for name, path in paths.items() if path.is_file() and path.stat().st_size}


def _read_splits(root: Path, expected: Mapping[str, int], problems: list[Problem]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name, count in expected.items():
        path = root / LISTS / f'{name}.txt'
        if not count and path.is_file() and not path.stat().st_size:
            splits[name] = []   # a split that was drawn or divided into no images
            continue
        try:
            splits[name] = read_id_list(path)
        except DataError as error:
            hint = _WHERE[AUG_FOLDER if name == 'trainaug' else 'JPEGImages'].format(root=root)
            problems.append(Problem('lists', f'{error.file}: {error.problem}' + (f': {hint}' if count else '')))
            continue
        if count and len(splits[name]) != count:
            problems.append(Problem('lists', f'{path}: holds {len(splits[name])} ids, expected {count}'))
    if splits and not any(splits.values()):
        problems.append(Problem('lists', f'{root / LISTS}: all lists are empty'))
    problems += leaks(splits)
    return splits
