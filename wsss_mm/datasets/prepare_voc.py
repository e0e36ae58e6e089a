"""PASCAL VOC 2012 with the extra masks of the Semantic Boundaries Dataset (SBD): convert, list, count.

The result is the layout that mmseg expects: ``SegmentationClassAug/<id>.png`` for the 12,031 images that have a mask
in either data set, and ``ImageSets/Segmentation/{trainaug,aug}.txt``. Everything can be interrupted and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmseg.datasets import PascalVOCDataset

from wsss_mm import files
from wsss_mm.datasets.label_readers import LISTS, read_id_list, read_label_map
from wsss_mm.errors import DataError

AUG_FOLDER = 'SegmentationClassAug'
VOC_COUNTS = dict(train=1464, val=1449, trainaug=10582)
VOC_TRAINVAL = 2913
SBD_COUNTS = dict(train=8498, val=2857)
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
           for split in ('train', 'val') for i in read_id_list(voc_root / LISTS / f'{split}.txt')}
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
    lists = Path(voc_root) / LISTS
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



def check_sbd(sbd_root: str | Path) -> list[str]:
    """Compare SBD with its published numbers: 8,498 and 2,857 ids in its lists, which share none, and as many masks.

    Returns:
        What is missing or wrong, one sentence each; empty if all is well.

    Raises:
        DataError: not where it is looked for.
    """
    sbd, findings, lists = sbd_folder(sbd_root), [], {}
    for split, count in SBD_COUNTS.items():
        try:
            lists[split] = set(read_id_list(sbd / f'{split}.txt'))
        except DataError as error:
            findings.append(f'{error.file}: {error.problem}: unpack benchmark.tgz of SBD again')
            continue
        if len(lists[split]) != count:
            findings.append(f'{sbd / split}.txt: holds {len(lists[split])} ids, expected {count}')
    masks = {path.stem for path in (sbd / 'cls').glob('*.mat')}
    if absent := sorted(set().union(*lists.values()) - masks):
        findings.append(f'{sbd / "cls"}: {len(absent)} masks of its lists are not there, as '
                        + ', '.join(f'{i}.mat' for i in absent[:_SHOWN]))
    return findings
