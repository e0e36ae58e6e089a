"""COCO files of instances with ignored pixels: what is read, what transforms keep, what a stock dataset sees."""

import json

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from wsss_mm.errors import DataError
from wsss_mm.registry import DATASETS

pytest.importorskip('mmdet')
from pycocotools import mask as coco_masks  # noqa: E402

META = dict(classes=('cat', 'dog'))


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def run_length(mask):
    code = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=code['size'], counts=code['counts'].decode())


@pytest.fixture
def coco_file(tmp_path):
    """Two objects with ignored pixels, between them one without area, which is left out, one without, and a crowd."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / 'a.jpg')
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / 'b.jpg')
    truth = np.zeros((4, 40, 60), np.uint8)
    truth[0, 5:20, 5:20], truth[0, 20:25, 5:20] = 1, 2
    truth[1, 10:30, 30:50], truth[1, 10:14, 30:50] = 1, 2
    truth[2, 2:8, 40:55] = 1
    truth[3, 30:38, 2:12] = 1
    boxes = [[5, 5, 15, 20], [30, 10, 20, 20], [40, 2, 15, 6], [2, 30, 10, 8]]
    annotations = [dict(
        id=10 + i, image_id=1, category_id=[1, 3, 1, 3][i], bbox=boxes[i], area=int((truth[i] == 1).sum()),
        iscrowd=i // 3, segmentation=run_length(truth[i] == 1), status='ok') for i in range(4)]
    for i in range(2):
        annotations[i]['ignore_region'] = run_length(truth[i] == 2)
    annotations.insert(1, dict(annotations[0], id=99, area=0))
    content = dict(
        images=[dict(id=1, file_name='a.jpg', height=40, width=60), dict(id=2, file_name='b.jpg', height=40, width=60)],
        annotations=annotations, categories=[dict(id=1, name='cat'), dict(id=3, name='dog')])
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    return tmp_path / 'instances.json', truth


def dataset(path, *steps, kind='wsss_mm.InstanceLabelDataset', load='wsss_mm.LoadInstanceLabels', **options):
    pipeline = [dict(type='LoadImageFromFile'), dict(type=load, **(
        dict(with_bbox=True, with_mask=True) if load == 'LoadAnnotations' else {})), *steps]
    return DATASETS.build(dict(type=kind, ann_file=str(path), data_prefix=dict(img=str(path.parent)), metainfo=META,
                               pipeline=pipeline, filter_cfg=dict(filter_empty_gt=True), **options))


def test_masks_have_objects_and_what_is_ignored(coco_file):
    path, truth = coco_file
    found = dataset(path)
    assert len(found) == 1, 'the image without objects is left out'
    results = found[0]
    assert np.array_equal(results['gt_masks'].masks, truth)
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 0, 1] and results['gt_ignore_flags'].tolist() == [
        False, False, False, True]
    assert [set(np.unique(m)) for m in results['gt_masks'].masks] == [{0, 1, 2}, {0, 1, 2}, {0, 1}, {0, 1}]


def test_transforms_carry_objects_and_ignored_pixels_alike(coco_file):
    path, truth = coco_file
    packed = dataset(
        path, dict(type='Resize', scale=(120, 80), keep_ratio=True), dict(type='RandomFlip', prob=1.),
        dict(type='Pad', size=(128, 96)), dict(type='PackDetInputs'))[0]['data_samples'].gt_instances
    wide = np.zeros((3, 96, 128), np.uint8)
    wide[:, :80, :120] = truth[:3].repeat(2, 1).repeat(2, 2)[..., ::-1]
    assert np.array_equal(packed.masks.masks, wide)
    assert packed.bboxes.tensor[0].tolist() == [120 - 40, 10, 120 - 10, 50]
    np.random.seed(0)
    cropped = dataset(path, dict(type='RandomCrop', crop_size=(56, 38), allow_negative_crop=True))[0]['gt_masks'].masks
    assert cropped.shape[1:] == (38, 56) and set(np.unique(cropped)) == {0, 1, 2}


def test_a_stock_dataset_trains_on_the_same_file(coco_file):
    path, truth = coco_file
    found = dataset(path, dict(type='PackDetInputs'), kind='CocoDataset', load='LoadAnnotations')
    sample = found[0]['data_samples']
    assert np.array_equal(sample.gt_instances.masks.masks, truth[:3] == 1), 'ignored pixels are background there'
    ours = dataset(path, dict(type='PackDetInputs'))[0]['data_samples'].gt_instances
    assert (ours.bboxes.tensor == sample.gt_instances.bboxes.tensor).all()
    assert (ours.labels == sample.gt_instances.labels).all()


def test_run_lengths_as_numbers_are_read(coco_file):
    path, truth = coco_file
    content = json.loads(path.read_text())
    flat = np.asfortranarray(truth[0] == 2).ravel(order='F')
    runs = np.diff(np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1], [True]])))
    content['annotations'][0]['ignore_region']['counts'] = runs.tolist()
    path.write_text(json.dumps(content))
    assert np.array_equal(dataset(path)[0]['gt_masks'].masks, truth)


def test_missing_labels_name_the_command(tmp_path):
    with pytest.raises(DataError, match=r'generate\.py configs/bbam/masks_toy\.py'):
        dataset(tmp_path / 'none.json', labels_made_by='configs/bbam/masks_toy.py')
    with pytest.raises(DataError, match=r'prepare_dataset\.py instances'):
        dataset(tmp_path / 'none.json')


@pytest.mark.parametrize('change', ['no json', 'no bbox', 'other classes', 'other order'])
def test_bad_files_are_named(coco_file, change):
    path, _ = coco_file
    content = json.loads(path.read_text())
    if change == 'no bbox':
        del content['annotations'][0]['bbox']
    if change == 'other classes':
        content['categories'][0]['name'] = 'horse'
    if change == 'other order':
        content['categories'].reverse()
    path.write_text('{' if change == 'no json' else json.dumps(content))
    with pytest.raises(DataError, match=path.name):
        dataset(path)


def test_regions_of_another_size_are_refused(coco_file):
    path, _ = coco_file
    content = json.loads(path.read_text())
    content['annotations'][0]['ignore_region'] = run_length(np.ones((39, 60)))
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match='ignore_region'):
        Compose(dataset(path).pipeline.transforms)(dataset(path).get_data_info(0))
