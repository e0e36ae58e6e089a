"""SBD conversion, the train_aug list and the check of VOC, on a tiny made-up VOC and SBD."""

import re

import numpy as np
import pytest
from mmseg.datasets import PascalVOCDataset
from PIL import Image
from scipy.io import savemat

from wsss_mm.datasets import prepare_voc
from wsss_mm.datasets.check import check_data, layouts_of, voc_layout
from wsss_mm.datasets.prepare_voc import build_train_aug, check_sbd, convert_sbd
from wsss_mm.errors import DataError

from .conftest import write_ids, write_png, write_xml

COUNTS = dict(train=3, val=1, trainaug=4)
CLASSES = PascalVOCDataset.METAINFO['classes']


def check_voc(root, expected=None):
    """What breaks a run, in sentences."""
    layout, = layouts_of(root) if expected is None else [voc_layout(root, CLASSES, expected)]
    return check_data(layout).lines(errors=True)


@pytest.fixture
def sbd(tiny_voc, tmp_path):
    """SBD with one image of VOC's train, one of its val and one of its own."""
    folder = tmp_path / 'benchmark_RELEASE/dataset'
    (folder / 'cls').mkdir(parents=True)
    size = tiny_voc.sizes['extra'] = (21, 23)
    Image.new('RGB', size[::-1]).save(tiny_voc.root / 'JPEGImages/extra.jpg')
    write_xml(tiny_voc.root / 'Annotations/extra.xml', size, [('cow', 2, 2, 9, 9)])
    for number, name in enumerate(('a', 'full', 'extra'), 1):
        mask = np.full(tiny_voc.sizes[name], number, np.uint8)
        savemat(folder / f'cls/{name}.mat', dict(GTcls=dict(Segmentation=mask, Boundaries=[], CategoriesPresent=[1])))
    write_ids(folder / 'train.txt', ['extra', 'full'])
    write_ids(folder / 'val.txt', ['a'])
    return folder.parent


def mask(tiny_voc, folder, name):
    return np.array(Image.open(tiny_voc.root / folder / f'{name}.png'))


def test_conversion_prefers_vocs_own_masks(tiny_voc, sbd):
    seen = []
    assert convert_sbd(sbd, tiny_voc.root, lambda *step: seen.append(step)) == 5
    assert seen == [(i, 5) for i in range(1, 6)]
    assert (mask(tiny_voc, 'SegmentationClassAug', 'extra') == 3).all()
    for name in ('a', 'b', 'full'):
        np.testing.assert_array_equal(mask(tiny_voc, 'SegmentationClassAug', name),
                                      mask(tiny_voc, 'SegmentationClass', name))


def test_conversion_goes_on_where_it_was_stopped(tiny_voc, sbd):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        convert_sbd(sbd, tiny_voc.root, stop)
    folder = tiny_voc.root / 'SegmentationClassAug'
    assert len(list(folder.iterdir())) == 2
    assert convert_sbd(sbd, tiny_voc.root) == 3 and convert_sbd(sbd, tiny_voc.root) == 0
    assert sorted(p.stem for p in folder.iterdir()) == ['a', 'b', 'empty', 'extra', 'full']


def test_train_aug_has_no_image_of_val(tiny_voc, sbd):
    assert build_train_aug(tiny_voc.root, sbd) == ['a', 'b', 'empty', 'extra']
    lists = tiny_voc.root / 'ImageSets/Segmentation'
    assert (lists / 'trainaug.txt').read_text().split() == ['a', 'b', 'empty', 'extra']
    assert (lists / 'aug.txt').read_text().split() == ['extra']


def test_published_numbers_of_sbd(tiny_voc, sbd, monkeypatch):
    train, val = check_sbd(sbd)
    assert train.endswith('train.txt: holds 2 ids, expected 8498') and val.endswith('expected 2857')
    monkeypatch.setattr(prepare_voc, 'SBD_COUNTS', dict(train=2, val=1))
    assert check_sbd(sbd) == []
    (sbd / 'dataset/cls/full.mat').unlink()
    assert '1 masks of its lists are not there, as full.mat' in check_sbd(sbd)[0]


def test_broken_or_missing_sbd(tiny_voc, sbd):
    with pytest.raises(DataError, match='dataset/cls'):
        convert_sbd(tiny_voc.root, tiny_voc.root)
    (sbd / 'dataset/cls/extra.mat').write_bytes(b'MATLAB 5.0')
    with pytest.raises(DataError, match='extra.mat: not readable as an SBD mask'):
        convert_sbd(sbd, tiny_voc.root)


@pytest.fixture
def prepared(tiny_voc, sbd):
    convert_sbd(sbd, tiny_voc.root)
    build_train_aug(tiny_voc.root, sbd)
    assert check_voc(tiny_voc.root, COUNTS) == []
    return tiny_voc


def test_check_counts_and_leaks(prepared):
    lists = prepared.root / 'ImageSets/Segmentation'
    assert check_voc(prepared.root)[0].endswith('train.txt: holds 3 ids, expected 1464')
    write_ids(lists / 'trainaug.txt', ['a', 'b', 'empty', 'full'])
    assert check_voc(prepared.root, COUNTS) == ['trainaug.txt holds 1 images of val, as full']
    (lists / 'trainaug.txt').unlink()
    finding, = check_voc(prepared.root, COUNTS)
    assert 'trainaug.txt' in finding and 'prepare_dataset.py voc' in finding


@pytest.mark.parametrize('spoil, found', [
    (lambda root: (root / 'JPEGImages/a.jpg').write_bytes((root / 'JPEGImages/a.jpg').read_bytes()[:-200]),
     'a.jpg: not readable as an image'),
    (lambda root: (root / 'SegmentationClassAug/extra.png').unlink(), 'extra.png: no such label map'),
    (lambda root: write_png(root / 'SegmentationClass/a.png', np.full((33, 47), 30)), r'a.png: holds the ids \[30\]'),
    (lambda root: write_png(root / 'SegmentationClass/a.png', np.zeros((30, 47))), 'a: sizes differ .* mask 30 x 47'),
    (lambda root: write_xml(root / 'Annotations/a.xml', (33, 47), [('hamster', 1, 1, 2, 2)]), "'hamster'"),
    (lambda root: write_xml(root / 'Annotations/a.xml', (33, 47), [('cat', 1, 1, 99, 2)]), 'partly outside'),
    (lambda root: write_xml(root / 'Annotations/a.xml', (33, 47), [('cat', 9, 9, 9, 3)]), 'has no area'),
])
def test_check_names_what_is_wrong(prepared, spoil, found):
    spoil(prepared.root)
    findings = check_voc(prepared.root, COUNTS)
    assert len(findings) == 1
    assert re.search(found, findings[0]), findings


def test_check_names_three_of_a_kind(prepared):
    for name in ('a', 'b', 'empty', 'extra', 'full'):
        (prepared.root / f'JPEGImages/{name}.jpg').unlink()
    findings = check_voc(prepared.root, COUNTS)
    assert len(findings) == 4 and findings[-1] == '… and 2 more of this kind'


def test_check_knows_the_toy_by_its_marker(tiny_voc):
    (tiny_voc.root / 'toy_voc.json').write_text('{}')
    lists = tiny_voc.root / 'ImageSets/Segmentation'
    write_ids(lists / 'train.txt', ['a'])
    write_ids(lists / 'val.txt', ['empty'])
    for name in ('a', 'empty'):
        write_png(tiny_voc.root / f'SegmentationClass/{name}.png', np.full(tiny_voc.sizes[name], 6))
    assert check_voc(tiny_voc.root) == []
    write_ids(lists / 'ood.txt', [])   # a toy may be drawn without a split
    assert check_voc(tiny_voc.root) == []
    write_ids(lists / 'test.txt', ['b'])
    mask, person = check_voc(tiny_voc.root)
    assert 'b.png: holds the ids [7' in mask and "'person'" in person


def test_check_of_nothing_says_what_to_put_there(tmp_path):
    findings = check_voc(tmp_path)
    assert len(findings) == 4 and 'VOCtrainval_11-May-2012.tar' in findings[0]
