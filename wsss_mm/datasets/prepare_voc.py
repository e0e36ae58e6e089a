"""PASCAL VOC 2012 with the extra masks of the Semantic Boundaries Dataset (SBD): convert, list, check.

The result is the layout that mmseg expects: ``SegmentationClassAug/<id>.png`` for the 12,031 images that have a mask
in either data set, and ``ImageSets/Segmentation/{trainaug,aug}.txt``. Everything can be interrupted and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from mmseg.datasets import PascalVOCDataset

from wsss_mm import files
from wsss_mm.datasets.label_readers import IGNORED, read_id_list, read_image, read_label_map, read_voc_xml
from wsss_mm.datasets.toy_voc import TOY_CLASSES
from wsss_mm.errors import DataError

AUG_FOLDER = 'SegmentationClassAug'
VOC_COUNTS = dict(train=1464, val=1449, trainaug=10582)
_LISTS = 'ImageSets/Segmentation'
_TOY_MARKER = 'toy_voc.json'
_WHERE = dict(
    JPEGImages='it is in VOCtrainval_11-May-2012.tar; unpack that so that VOCdevkit/VOC2012 becomes this folder',
    SegmentationClassAug='python tools/prepare_dataset.py voc --root {root} --sbd <benchmark_RELEASE of SBD>')
_SHOWN = 3


def convert_sbd(sbd_root: str | Path, voc_root: str | Path,
                progress: Callable[[int, int], None] | None = None) -> int:
    """Write ``SegmentationClassAug``: VOC's own masks where it has them, SBD's elsewhere.

    Files that are there stay, since each is written whole or not at all.

    Args:
        sbd_root: SBD as unpacked (``dataset/cls/*.mat`` below it).
        voc_root: ``VOCdevkit/VOC2012``.
        progress: Called with (done, total) after each file.

    Returns:
        The number of files written.

    Raises:
        DataError: SBD or VOC is not where it is looked for, or a mask is unreadable.
    """
    voc_root = Path(voc_root)
    own = {i: voc_root / 'SegmentationClass' / f'{i}.png'
           for split in ('train', 'val') for i in read_id_list(voc_root / _LISTS / f'{split}.txt')}
    extra = {path.stem: path for path in sbd_folder(sbd_root).glob('cls/*.mat')}
    target = voc_root / AUG_FOLDER
    target.mkdir(exist_ok=True)
    files.remove_leftovers(target)
    there = {path.stem for path in target.glob('*.png')}
    sources = sorted((extra | own).items())
    written = 0
    for done, (image_id, source) in enumerate(sources, 1):
        if image_id not in there:
            labels = read_label_map(source) if image_id in own else read_sbd_mask(source)
            content = files.label_png(labels, PascalVOCDataset.METAINFO['palette'])
            files.write_atomic(target / f'{image_id}.png', content)
            written += 1
        if progress:
            progress(done, len(sources))
    return written


def read_sbd_mask(path: str | Path) -> np.ndarray:
    """The class mask of an SBD ``.mat`` file, ``(H, W)`` uint8 with VOC's ids; SBD has no ignored pixels.

    Raises:
        DataError: not such a file.
    """
    from scipy.io import loadmat  # slow to import, and only used here
    try:
        return np.asarray(loadmat(path, variable_names=['GTcls'])['GTcls'][0, 0]['Segmentation'], np.uint8)
    # scipy has many ways to fail on a broken file
    except Exception as error:
        raise DataError(f'not readable as an SBD mask ({type(error).__name__}: {error})', file=path,
                        expected='a MATLAB file with GTcls.Segmentation',
                        fix='unpack benchmark.tgz of SBD again') from None


def build_train_aug(voc_root: str | Path, sbd_root: str | Path) -> list[str]:
    """Write and return the ids of train_aug: VOC's train and all of SBD, without VOC's val (10,582 in the originals).

    ``trainaug.txt`` holds them all, ``aug.txt`` those that are not in VOC's train, as mmseg names them.

    Raises:
        DataError: a list is missing or empty.
    """
    lists = Path(voc_root) / _LISTS
    train, val = (set(read_id_list(lists / f'{split}.txt')) for split in ('train', 'val'))
    sbd = sbd_folder(sbd_root)
    extra = set(read_id_list(sbd / 'train.txt')) | set(read_id_list(sbd / 'val.txt'))
    train_aug = sorted((train | extra) - val)
    for name, ids in (('trainaug', train_aug), ('aug', [i for i in train_aug if i not in train])):
        files.write_atomic(lists / f'{name}.txt', ''.join(f'{i}\n' for i in ids).encode())
    return train_aug


def sbd_folder(sbd_root: str | Path) -> Path:
    """The folder ``dataset`` of SBD as unpacked.

    Raises:
        DataError: not there.
    """
    root = Path(sbd_root)
    for folder in (root / 'dataset', root, root / 'benchmark_RELEASE/dataset'):
        if (folder / 'cls').is_dir():
            return folder
    raise DataError('no dataset/cls below it', file=root, expected='SBD as unpacked from benchmark.tgz '
                    '(benchmark_RELEASE/dataset/cls/*.mat)', fix='unpack it there, or name its place with --sbd')


def check_voc(root: str | Path, expected: Mapping[str, int] | None = None,
              progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Look at every file of a data set in VOC's layout.

    Checks the counts of the splits, that trainaug and val are disjoint, that images, masks and annotations are there,
    readable and of one size, the ids in the masks, and class names and boxes in the annotations.

    Args:
        root: ``VOCdevkit/VOC2012``, or a folder of toy VOC (known by its marker file).
        expected: Number of ids per split; by default VOC's train, val and trainaug, and whatever lists the toy has.
        progress: Called with (done, total) after each image.

    Returns:
        What is missing or wrong, one sentence each, at most three files named per kind; empty if all is well.
    """
    root = Path(root)
    toy = (root / _TOY_MARKER).is_file()
    classes = TOY_CLASSES if toy else PascalVOCDataset.METAINFO['classes']
    if expected is None:
        expected = {p.stem: 0 for p in sorted((root / _LISTS).glob('*.txt'))} if toy else VOC_COUNTS
    findings = [f'{root / folder} is missing: {_WHERE.get(folder, _WHERE["JPEGImages"]).format(root=root)}'
                for folder in ('JPEGImages', 'Annotations', 'SegmentationClass', _LISTS)
                if not (root / folder).is_dir()]
    if findings:
        return findings
    splits = _read_splits(root, expected, findings)
    ids = sorted(set().union(*splits.values()))
    index = {name: i for i, name in enumerate(classes[1:])}
    # train and val have VOC's own masks; the rest of trainaug has SBD's
    own_masks = set().union(*(members for name, members in splits.items() if name != 'trainaug'))
    problems: dict[str, list[str]] = {}
    for done, image_id in enumerate(ids, 1):
        folder = 'SegmentationClass' if image_id in own_masks else AUG_FOLDER
        for kind, text in _check_image(root, folder, image_id, index, len(classes)):
            problems.setdefault(kind, []).append(text)
        if progress:
            progress(done, len(ids))
    for texts in problems.values():
        findings += texts[:_SHOWN]
        if len(texts) > _SHOWN:
            findings.append(f'… and {len(texts) - _SHOWN} more of this kind')
    return findings


def _read_splits(root: Path, expected: Mapping[str, int], findings: list[str]) -> dict[str, set[str]]:
    splits = {}
    for name, count in expected.items():
        path = root / _LISTS / f'{name}.txt'
        try:
            splits[name] = set(read_id_list(path))
        except DataError as error:
            hint = _WHERE[AUG_FOLDER if name == 'trainaug' else 'JPEGImages'].format(root=root)
            findings.append(f'{error.file}: {error.problem}: {hint}')
            continue
        if count and len(splits[name]) != count:
            findings.append(f'{path}: holds {len(splits[name])} ids, expected {count}')
    leaked = sorted(splits.get('trainaug', set()) & splits.get('val', set()))
    if leaked:
        findings.append(f'trainaug.txt holds {len(leaked)} images of val, as {", ".join(leaked[:_SHOWN])}')
    return splits


def _check_image(root: Path, mask_folder: str, image_id: str, index: Mapping[str, int],
                 num_classes: int) -> list[tuple[str, str]]:
    """(kind, sentence) of each problem of one image."""
    found, sizes = [], {}
    readers = dict(
        image=lambda: read_image(root / 'JPEGImages' / f'{image_id}.jpg').shape[:2],
        mask=lambda: _mask_size(root / mask_folder / f'{image_id}.png', num_classes),
        annotation=lambda: read_voc_xml(root / 'Annotations' / f'{image_id}.xml', index, 'exact').size)
    for kind, reader in readers.items():
        try:
            sizes[kind] = reader()
        except DataError as error:
            expected = f' (expected {error.expected})' if error.expected else ''
            found.append((kind, f'{error.file}: {error.problem}{expected}'))
    if len(set(sizes.values())) > 1:
        shown = ', '.join(f'{kind} {h} x {w}' for kind, (h, w) in sizes.items())
        found.append(('size', f'{image_id}: sizes differ (height x width): {shown}'))
    return found


def _mask_size(path: Path, num_classes: int) -> tuple[int, int]:
    labels = read_label_map(path)
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
    unknown = [i for i in present if num_classes <= i != IGNORED]
    if unknown:
        raise DataError(f'holds the ids {unknown}', file=path, expected=f'0 … {num_classes - 1} and {IGNORED}')
    return labels.shape
