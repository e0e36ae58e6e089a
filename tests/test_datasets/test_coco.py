"""COCO 2014: tags, lists and masks from its JSON and COCO-Stuff's pixelmaps, made up in small; the dataset."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

from wsss_mm.datasets import WeakCOCODataset, prepare_coco
from wsss_mm.datasets.coco import CATEGORIES, PALETTE
from wsss_mm.datasets.prepare_coco import check_coco, convert_pixelmap, convert_pixelmaps, read_instances, write_lists
from wsss_mm.errors import DataError

from .conftest import write_ids

ROOT = Path(__file__).resolve().parents[2]
COUNTS = dict(train=3, val=1)
TRAIN = [f'COCO_train2014_{i:012d}' for i in (9, 25, 30)]
VAL = 'COCO_val2014_000000000042'
# (image, category); image 25 has nothing, image 9 two dogs and a crowd of people
ANNOTATIONS = dict(train=[(30, 90), (9, 18), (9, 1), (9, 18)], val=[(42, 67)])
# category id - 1: dog, person, unlabelled; stuff; toothbrush, dining table, unlabelled; stop sign, umbrella, stuff
MASKS = {9: [[17, 0, 255]], 25: [[91, 181, 120]], 30: [[89, 66, 255]], 42: [[12, 27, 91]]}


def instances(split, categories=CATEGORIES, **changes):
    images = [dict(id=int(i[-12:]), file_name=f'{i}.jpg', height=1, width=3)
              for i in (TRAIN[::-1] if split == 'train' else [VAL])]
    annotations = [dict(id=n, image_id=image, category_id=category, iscrowd=int(category == 1), area=3.,
                        segmentation=dict(counts=[1], size=[1, 3]) if category == 1 else [[0, 0, 1, 1, 2, 2]])
                   for n, (image, category) in enumerate(ANNOTATIONS[split])]
    return dict(images=images, annotations=annotations,
                categories=[dict(id=i, name=n, supercategory='x') for i, n in categories.items()]) | changes


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / 'coco'
    for folder in ('annotations', 'train2014', 'val2014', 'stuffthingmaps/train2017', 'stuffthingmaps/val2017'):
        (root / folder).mkdir(parents=True)
    for split, ids in dict(train=TRAIN, val=[VAL]).items():
        (root / f'annotations/instances_{split}2014.json').write_text(json.dumps(instances(split)))
        for image_id in ids:
            Image.new('RGB', (3, 1), (1, 2, 3)).save(root / f'{split}2014/{image_id}.jpg')
    for number, values in MASKS.items():
        # COCO 2017 shares the images out anew: a train image of 2014 may be in its val
        folder = 'val2017' if number == 30 else 'train2017'
        Image.fromarray(np.array(values, np.uint8)).save(root / f'stuffthingmaps/{folder}/{number:012d}.png')
    (root / 'stuffthingmaps/train2017/000000000009_labelTrainIds.png').write_bytes(b'mmseg writes such')
    return root


def mask(coco, image_id):
    return np.array(Image.open(coco / f'SegmentationClass/{image_id}.png')).tolist()


def test_classes():
    assert len(CATEGORIES) == 80 and len({tuple(c) for c in PALETTE}) == 81
    classes = WeakCOCODataset.METAINFO['classes']
    assert classes[0] == 'background' and classes[1] == 'person' and classes[12] == 'stop sign'
    assert classes[80] == 'toothbrush' and list(CATEGORIES)[79] == 90


def test_tags_and_lists(coco):
    assert write_lists(coco) == dict(train=(3, 1), val=(1, 0))
    assert json.loads((coco / 'image_tags.json').read_text()) == {
        TRAIN[0]: ['person', 'dog'], TRAIN[1]: [], TRAIN[2]: ['toothbrush'], VAL: ['dining table']}
    lists = {p.stem: p.read_text().split() for p in (coco / 'ImageSets/Segmentation').iterdir()}
    assert lists == dict(train=TRAIN, train_objects=[TRAIN[0], TRAIN[2]], val=[VAL])


def test_masks_and_their_dataset(coco):
    write_lists(coco)
    seen = []
    assert convert_pixelmaps(coco, coco / 'stuffthingmaps', lambda *step: seen.append(step), workers=1) == 4
    assert seen == [(i, 4) for i in range(1, 5)]
    assert [mask(coco, i) for i in TRAIN] == [[[17, 1, 255]], [[0, 0, 0]], [[80, 61, 255]]]
    assert check_coco(coco, COUNTS) == []
    pipeline = [dict(type=f'wsss_mm.{t}') for t in ('LoadImage', 'LoadWeakLabels', 'LoadLabelMaps', 'PackWeakInputs')]
    arguments = dict(type='wsss_mm.WeakCOCODataset', data_root=str(coco), pipeline=pipeline,
                     ann_file=[f'ImageSets/Segmentation/{s}.txt' for s in COUNTS])
    dataset = DATASETS.build(arguments)
    assert [dataset.get_data_info(i)['img_id'] for i in range(4)] == [*TRAIN, VAL]
    assert [dataset.get_cat_ids(i) for i in range(4)] == [[0, 16], [], [79], [60]]
    sample = dataset[3]['data_samples']
    assert sample.gt_label.shape == (80,) and sample.gt_label.argmax() == 60
    assert sample.img_path == str(coco / f'val2014/{VAL}.jpg')
    assert dataset[2]['data_samples'].gt_sem_seg.data.flatten().tolist() == [80, 61, 255]
    shipped = Config.fromfile(ROOT / 'configs/_base_/coco14_tags.py').segmentation_val.dataset
    val = DATASETS.build(shipped | dict(data_root=str(coco)))
    assert len(val) == 1 and val[0]['data_samples'].gt_sem_seg.data.flatten().tolist() == [12, 26, 0]
    masks = DATASETS.build(arguments | dict(mask_count=1))
    assert sorted(masks.get_data_info(i)['supervision'] for i in range(4)) == ['masks', 'tags', 'tags', 'tags']


def test_conversion_in_processes_goes_on_where_it_was_stopped(coco, contents):
    write_lists(coco)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        convert_pixelmaps(coco, coco / 'stuffthingmaps', stop, workers=1)
    folder = coco / 'SegmentationClass'
    assert len(list(folder.iterdir())) == 2
    seen = []
    assert convert_pixelmaps(coco, coco / 'stuffthingmaps', lambda *step: seen.append(step), workers=2) == 2
    assert seen == [(i, 4) for i in range(1, 5)] and mask(coco, VAL) == [[12, 26, 0]]
    found = contents(folder)
    assert convert_pixelmaps(coco, coco / 'stuffthingmaps', workers=2) == 0 and contents(folder) == found


@pytest.mark.parametrize('value', [11, 90, 182, 254])
def test_ids_that_coco_stuff_has_not(value):
    with pytest.raises(DataError, match=rf'x.png: holds the category ids \[{value + 1}\]'):
        convert_pixelmap(np.array([[0, value]], np.uint8), 'x.png')


def test_missing_pixelmaps(coco):
    write_lists(coco)
    (coco / 'stuffthingmaps/train2017/000000000025.png').unlink()
    with pytest.raises(DataError, match='1 of 4 pixelmaps are missing, as 000000000025.png') as info:
        convert_pixelmaps(coco, coco / 'stuffthingmaps')
    assert 'stuffthingmaps_trainval2017.zip' in str(info.value)


@pytest.mark.parametrize('content, found', [
    ('{"images": [', 'JSONDecodeError'), ('{"images": []}', "KeyError: 'categories'"), ('[1, 2]', 'TypeError'),
    (json.dumps(instances('val', {1: 'person', 2: 'hamster'})), "other categories than COCO's 80: 10 traffic light"),
    (json.dumps(instances('val', images=[])), 'KeyError: 42')])
def test_other_json(tmp_path, content, found):
    (tmp_path / 'x.json').write_text(content)
    with pytest.raises(DataError, match=found):
        read_instances(tmp_path / 'x.json')
    with pytest.raises(DataError, match='are not there') as info:
        read_instances(tmp_path / 'y.json')
    assert 'annotations_trainval2014.zip' in str(info.value)


def test_check_says_what_is_missing(coco):
    finding, = check_coco(coco)
    assert 'image_tags.json' in finding and 'prepare_dataset.py coco' in finding
    write_lists(coco)
    (coco / f'train2014/{TRAIN[1]}.jpg').unlink()
    findings = check_coco(coco)
    assert 'train.txt: holds 3 ids, expected 82783' in findings[0] and len(findings) == 5
    assert f'train2014: 1 of 3 images of train are not there, as {TRAIN[1]}' in findings[1]


def test_ids_of_another_form(coco):
    write_lists(coco)
    write_ids(coco / 'mine.txt', ['000000000009'])
    with pytest.raises(DataError, match="image id '000000000009'"):
        WeakCOCODataset('mine.txt', data_root=str(coco))
    with pytest.raises(DataError, match=r'prepare_dataset.py coco --root'):
        WeakCOCODataset('mine.txt', data_root=str(coco / 'nowhere'))


def test_tool(coco, call_tool, monkeypatch):
    monkeypatch.setattr(prepare_coco, 'COCO_COUNTS', COUNTS)
    done = call_tool('prepare_dataset', 'coco', '--root', coco, '--year', 2014, '--workers', 1)
    assert done.code == 0, done.out + done.err
    assert 'train: 3 images, 1 of them without any object: they stay in train.txt with empty tags' in done.out
    assert '4/4' in done.out and 'complete, nothing wrong found' in done.out
    done = call_tool('prepare_dataset', 'check', '--root', coco, '--workers', 0)
    assert done.code == 0 and 'val: 0 images without any object, COCO published 367' in done.out
    assert 'COCO_train2014_000000000009: tags: person, dog; mask: person, dog' not in done.out   # they agree
    Image.fromarray(np.full((1, 3), 5, np.uint8)).save(coco / f'SegmentationClass/{TRAIN[0]}.png')
    done = call_tool('prepare_dataset', 'check', '--root', coco, '--workers', 0)
    assert done.code == 0 and f'{TRAIN[0]}: tags: person, dog; mask: airplane' in done.out
    (coco / 'annotations/instances_val2014.json').unlink()
    done = call_tool('prepare_dataset', 'coco', '--root', coco)
    assert done.code == 2 and 'annotations_trainval2014.zip' in done.err
