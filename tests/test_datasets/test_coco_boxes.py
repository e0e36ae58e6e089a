"""CocoBoxDataset: ids, classes by name, crowds, odd boxes, what training and labelling get of it."""

import json
import shutil

import numpy as np
import pytest
from mmseg.registry import DATASETS
from PIL import Image

from wsss_mm.datasets import CocoBoxDataset, ToyVOCDataset, prepare_coco
from wsss_mm.datasets.coco import CATEGORIES
from wsss_mm.datasets.coco_boxes import read_coco_boxes
from wsss_mm.datasets.prepare_instances import write_instances
from wsss_mm.errors import ConfigError, DataError

PIPELINE = [dict(type=f'wsss_mm.{t}') for t in ('LoadImage', 'LoadWeakLabels', 'PackWeakInputs')]
RLE = dict(counts=[0, 20, 580], size=[20, 30])


def annotation(number, image, category, bbox, **more):
    return dict(id=number, image_id=image, category_id=category, bbox=bbox, iscrowd=0, area=7.,
                segmentation=[[0, 0, 1, 1, 2, 2]]) | more


@pytest.fixture
def content():
    """Ids with gaps, categories not in the order of their ids, one image without objects."""
    return dict(
        images=[dict(id=n, file_name=f'{n:012d}.jpg', height=20, width=30, coco_url='x') for n in (42, 7, 9)],
        categories=[dict(id=18, name='dog'), dict(id=1, name='person')],
        annotations=[
            annotation(501, 7, 18, [2.5, 3, 10, 5.25]), annotation(77, 42, 1, [0, 0, 30, 20]),
            annotation(900, 7, 1, [20, 1, 8, 4], iscrowd=1, segmentation=RLE),
            annotation(3, 7, 18, [25, 10, 9, 20]), annotation(4, 7, 1, [3, 3, 0, 4])])


@pytest.fixture
def write(tmp_path, content):
    (tmp_path / 'train2017').mkdir()
    for image in content['images']:
        Image.new('RGB', (30, 20)).save(tmp_path / 'train2017' / image['file_name'])

    def write(**changes):
        (tmp_path / 'x.json').write_text(json.dumps(content | changes))
        return tmp_path
    return write


def dataset(root, **options):
    return DATASETS.build(dict(type='wsss_mm.CocoBoxDataset', data_root=str(root), ann_file='x.json',
                               data_prefix=dict(img_path='train2017'), pipeline=PIPELINE) | options)


def test_infos(write):
    data = dataset(write())
    assert data.metainfo['classes'] == ('background', 'person', 'dog') and len(data.metainfo['palette']) == 3
    infos = [data.get_data_info(i) for i in range(3)]
    assert [i['img_id'] for i in infos] == ['000000000042', '000000000007', '000000000009']
    assert [i['img_labels'] for i in infos] == [[0], [1], []] and infos[2]['annotations'] == infos[2]['crowds'] == []
    first, second = infos[1]['instances']
    assert first == dict(bbox=[2.5, 3, 12.5, 8.25], bbox_label=1, ignore_flag=0)
    assert second['bbox'] == [25, 10, 30, 20]                      # clipped
    assert [a['id'] for a in infos[1]['annotations']] == [501, 3]  # in the boxes' order; 4 has no area
    assert not any(k in a for a in infos[1]['annotations'] for k in ('segmentation', 'area'))
    assert [c['segmentation'] for c in infos[1]['crowds']] == [RLE]


def test_sample(write):
    """What a labelling run and a box classifier see; a crowd is neither a box nor background."""
    sample = dataset(write())[1]['data_samples']
    assert sample.gt_label.tolist() == [0, 1] and sample.gt_instances.labels.tolist() == [1, 1]
    assert [a['id'] for a in sample.annotations] == [501, 3] and [c['id'] for c in sample.crowds] == [900]
    background = sample.gt_bg_mask.data[0].bool().numpy()
    expected = np.ones((20, 30), bool)
    expected[3:9, 2:13] = expected[10:, 25:] = expected[1:5, 20:28] = False
    np.testing.assert_array_equal(background, expected)


def test_boxes_without_area_are_told(write, monkeypatch):
    told = []
    monkeypatch.setattr('wsss_mm.datasets.coco_boxes.print_log', lambda text, *_: told.append(text))
    dataset(write())
    assert len(told) == 1 and '1 boxes without area are left out, as the annotations [4]' in told[0]


def test_classes_by_name(write):
    """The metainfo's order counts, not the file's; its own background is not doubled."""
    for classes in (('dog', 'person'), ('background', 'dog', 'person')):
        data = dataset(write(), metainfo=dict(classes=classes))
        assert data.metainfo['classes'] == ('background', 'dog', 'person')
        assert data.get_data_info(1)['img_labels'] == [0] and data.get_data_info(0)['img_labels'] == [1]
    with pytest.raises(DataError, match='categories person') as info:
        dataset(write(), metainfo=dict(classes=('dog', 'cat')))
    assert 'x.json' in str(info.value) and 'classes: dog, cat' in str(info.value)


def test_difficult_and_empty(write, content):
    content['annotations'][1]['difficult'] = 1
    root = write()
    assert dataset(root).get_data_info(0)['instances'][0]['ignore_flag'] == 1
    without = dataset(root, use_difficult=False)
    assert without.get_data_info(0)['instances'] == without.get_data_info(0)['annotations'] == []
    keep = dict(filter_cfg=dict(filter_empty_gt=True))
    assert [len(dataset(root, **o)) for o in ({}, keep, keep | dict(test_mode=True))] == [3, 2, 3]
    with pytest.raises(DataError, match='no image has a box'):
        dataset(write(annotations=[]), **keep)


@pytest.mark.parametrize('change, found', [
    (dict(annotations=[annotation(1, 8, 18, [0, 0, 1, 1])]), 'annotation 1: image_id 8 is no image'),
    (dict(annotations=[annotation(1, 7, 3, [0, 0, 1, 1])]), 'annotation 1: category_id 3 is no category'),
    (dict(annotations=[annotation(1, 7, 18, [0, 0, 1])]), r'annotation 1: bbox \[0, 0, 1\] is no box'),
    (dict(annotations=[annotation(1, 7, 18, [0, 0, 1, None])]), 'annotation 1: bbox .* is no box'),
    (dict(annotations=[annotation(1, 7, 18, [0, 0, 1, 1])] * 2), 'annotation id 1 is there twice'),
    (dict(annotations=[dict(id=1)]), "KeyError: 'image_id'"),
    (dict(images=[]), 'annotation 501: image_id 7'),
    (dict(images=[], annotations=[]), 'holds no image'),
    (dict(images=[dict(id=n, file_name=f'{n}/a.jpg', height=1, width=1) for n in (1, 2)], annotations=[]),
     "two images are named 'a'"),
    (dict(images=[dict(id=1, file_name=f'{n}.jpg', height=1, width=1) for n in (1, 2)], annotations=[]),
     'an image id is there twice'),
    (dict(categories=3), 'TypeError')])
def test_files_that_are_wrong(write, change, found):
    with pytest.raises(DataError, match=found) as info:
        dataset(write(**change))
    assert 'x.json' in str(info.value)


def test_what_is_missing_or_contradicts(write):
    root = write()
    for options in ({}, dict(metainfo=dict(classes=('cat', )))):
        with pytest.raises(DataError, match='no such COCO file') as info:
            dataset(root, ann_file='y.json', **options)
        assert f'prepare_dataset.py instances --root {root}' in info.value.fix
    for options in (dict(ann_file=['x.json']), dict(tag_file='t.json'), dict(box_dir='Annotations'),
                    dict(mask_count=1)):
        with pytest.raises(ConfigError):
            dataset(root, **options)
    with pytest.raises(DataError, match='annotation 3: bbox .* lies partly outside') as info:
        dataset(root, box_outside='error')
    assert "box_outside='clip'" in str(info.value)
    (root / 'train2017/000000000009.jpg').unlink()
    with pytest.raises(DataError, match='000000000009.jpg: no such file'):
        dataset(root)
    assert len(dataset(root, test_mode=True)) == 3


def test_pseudo_labels_of_a_segmentor(write, tmp_path):
    """Label maps by the images' ids, boxes beside them."""
    (tmp_path / 'Y_crf').mkdir()
    for number in (42, 7, 9):
        Image.fromarray(np.full((20, 30), number % 3, np.uint8), 'L').save(tmp_path / f'Y_crf/{number:012d}.png')
    steps = [PIPELINE[0], dict(type='wsss_mm.LoadLabelMaps'), PIPELINE[2]]
    data = dataset(write(), label_dirs=dict(seg_map=str(tmp_path / 'Y_crf')), pipeline=steps)
    assert [int(data[i]['data_samples'].gt_sem_seg.data.unique()) for i in range(3)] == [0, 1, 0]
    (tmp_path / 'Y_crf/000000000007.png').unlink()
    with pytest.raises(DataError, match='000000000007.png'):
        dataset(tmp_path, label_dirs=dict(seg_map=str(tmp_path / 'Y_crf')), pipeline=steps)


def test_the_image_has_to_be_the_annotated_one(write):
    root = write()
    Image.new('RGB', (31, 20)).save(root / 'train2017/000000000042.jpg')
    with pytest.raises(DataError, match=r'annotated for 20 x 30 pixels .*, the image has 20 x 31'):
        dataset(root).prepare_data(0)


def test_equals_the_xml_files(toy_root, tmp_path):
    """Toy VOC by its COCO file and by its XML files."""
    root = shutil.copytree(toy_root, tmp_path / 'toy')
    write_instances(root)
    classes = ToyVOCDataset.METAINFO['classes']
    found = CocoBoxDataset('annotations/boxes_train.json', data_root=str(root), metainfo=dict(classes=classes),
                           data_prefix=dict(img_path='JPEGImages'), pipeline=PIPELINE)
    expected = ToyVOCDataset('ImageSets/Segmentation/train.txt', data_root=str(root), pipeline=PIPELINE)
    assert len(found) == len(expected) == 12
    for i in range(12):
        ours, theirs = found.get_data_info(i), expected.get_data_info(i)
        for key in ('img_id', 'img_path', 'instances', 'img_labels', 'ann_size', 'num_classes'):
            assert ours[key] == theirs[key]
        assert (found[i]['data_samples'].gt_bg_mask.data == expected[i]['data_samples'].gt_bg_mask.data).all()


def check_masks_of_2017(root, call_tool):
    """COCO-Stuff's maps, where they are there, become masks that score label maps of 2017's images."""
    values = np.full((20, 30), 91, np.uint8)   # stuff
    values[:10], values[19] = 89, 255          # toothbrush, unlabelled
    for split, number in (('train2017', 9), ('train2017', 25), ('val2017', 42)):
        (root / 'stuffthingmaps' / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / f'stuffthingmaps/{split}/{number:012d}.png')
    done = call_tool('prepare_dataset', 'coco', '--root', root, '--year', 2017, '--workers', 1)
    assert done.code == 0 and '3/3' in done.out, done.out + done.err
    labels = np.zeros((20, 30), np.uint8)
    labels[:5] = 80
    (root / 'made').mkdir()
    for number in (9, 25):
        Image.fromarray(labels).save(root / f'made/{number:012d}.png')
    done = call_tool('evaluate', root / 'made', '--truth', root / 'SegmentationClass', '--classes', 'coco',
                     '--ids', root / 'ImageSets/Segmentation/train2017.txt', '--out', root / 'scores.json')
    assert done.code == 0, done.err
    iou = json.loads((root / 'scores.json').read_text())['iou']
    assert iou['toothbrush'] == pytest.approx(50) and iou['background'] == pytest.approx(100 * 9 / 14)


def test_coco_2017(tmp_path, call_tool, monkeypatch):
    """Counts and images are checked, lists written; both years may be in one folder."""
    categories = [dict(id=i, name=n) for i, n in CATEGORIES.items()]
    (tmp_path / 'annotations').mkdir()
    for split, numbers in dict(train2017=(9, 25), val2017=(42,)).items():
        (tmp_path / split).mkdir()
        for n in numbers:
            Image.new('RGB', (30, 20)).save(tmp_path / split / f'{n:012d}.jpg')
        (tmp_path / f'annotations/instances_{split}.json').write_text(json.dumps(dict(
            images=[dict(id=n, file_name=f'{n:012d}.jpg', height=20, width=30) for n in numbers],
            annotations=[annotation(1, numbers[0], 90, [1, 1, 5, 5])], categories=categories)))
    done = call_tool('prepare_dataset', 'coco', '--root', tmp_path, '--year', 2017)
    assert done.code == 1 and 'train2017.txt: holds 2 ids, expected 118287' in done.out
    assert 'val2017.txt: holds 1 ids, expected 5000' in done.out and done.out.count('\n- ') == 2
    monkeypatch.setattr(prepare_coco, 'COCO17_COUNTS', dict(train2017=2, val2017=1))
    done = call_tool('prepare_dataset', 'coco', '--root', tmp_path, '--year', 2017)
    assert done.code == 0, done.out + done.err
    assert 'train2017: 2 images, 1 of them without any object' in done.out
    lists = {p.stem: p.read_text().split() for p in (tmp_path / 'ImageSets/Segmentation').iterdir()}
    assert lists == dict(train2017=['000000000009', '000000000025'], train2017_objects=['000000000009'],
                         val2017=['000000000042'])
    assert 'no masks to score label maps with' in done.out
    check_masks_of_2017(tmp_path, call_tool)
    done = call_tool('prepare_dataset', 'check', '--root', tmp_path, '--workers', 0)
    assert done.code == 0 and 'train2017: 1 annotations, COCO published 860001' in done.out
    (tmp_path / 'train2017/000000000025.jpg').unlink()
    done = call_tool('prepare_dataset', 'check', '--root', tmp_path, '--workers', 0)
    assert done.code == 1 and '1 of 2 images are not there, as 000000000025' in done.out
    data = CocoBoxDataset('annotations/instances_val2017.json', data_root=str(tmp_path),
                          data_prefix=dict(img_path='val2017'))
    assert data.metainfo['classes'] == ('background', *CATEGORIES.values())
    assert data.get_data_info(0)['instances'][0]['bbox_label'] == 79
    (tmp_path / 'annotations/instances_val2017.json').unlink()
    done = call_tool('prepare_dataset', 'coco', '--root', tmp_path, '--year', 2017)
    assert done.code == 2 and 'annotations_trainval2017.zip' in done.err


def test_outlines_are_never_kept(write):
    found = read_coco_boxes(write() / 'x.json')
    assert [('segmentation' in a, bool(a['iscrowd'])) for a in found.annotations[7]] == [
        (False, False), (True, True), (False, False), (False, False)]
    assert found.images[0] == dict(id=42, file_name='000000000042.jpg', height=20, width=30)
