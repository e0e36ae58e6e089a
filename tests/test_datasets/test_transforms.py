"""Transforms: boxes, tags and every label map go through one geometry."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmseg.registry import MODELS, TRANSFORMS
from PIL import Image

from wsss_mm.datasets import WeakVOCDataset
from wsss_mm.datasets.transforms import (
    ColorJitter,
    LoadImage,
    LoadLabelMaps,
    LoadWeakLabels,
    PackWeakInputs,
    RandomCropWithBoxes,
    RandomScale,
)
from wsss_mm.datasets.transforms.loading import background_mask
from wsss_mm.errors import ConfigError, DataError

from .conftest import write_png


def results_of(image, boxes=(), **maps):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], seg_fields=list(maps), gt_bboxes=boxes,
                gt_bboxes_labels=np.arange(len(boxes)), **maps)


def coordinates(height, width):
    """An image whose channels are (x, y, 0), as maps of x and y, none of which wraps."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([x, y, 0 * x], 2), x, y


def preprocessor(**kwargs):
    return MODELS.build(dict(type='wsss_mm.WeakSegDataPreProcessor', mean=[0, 0, 0], std=[1, 1, 1], **kwargs))


# ---- loading

def test_load_image_is_bgr(tmp_path):
    Image.new('RGB', (5, 3), (10, 20, 30)).save(tmp_path / 'x.png')
    results = LoadImage()(dict(img_path=str(tmp_path / 'x.png')))
    assert results['img'].shape == (3, 5, 3) and (results['img'] == [30, 20, 10]).all()
    assert results['ori_shape'] == results['img_shape'] == (3, 5) and results['img'].flags.c_contiguous


def test_weak_labels(tiny_voc):
    dataset = WeakVOCDataset('ImageSets/Segmentation/train.txt', str(tiny_voc.root), box_convention='exact',
                             pipeline=[LoadImage(), LoadWeakLabels()])
    both, empty = dataset[1], dataset[2]
    assert both['gt_bboxes'].tolist() == [[0, 0, 31, 12], [9, 9, 25, 40]]
    assert both['gt_bboxes_labels'].tolist() == [11, 14]
    assert both['gt_label'].shape == (20,) and both['gt_label'].nonzero()[0].tolist() == [11, 14]
    expected = np.ones((40, 31), np.uint8)
    expected[:12] = expected[9:40, 9:25] = 0
    np.testing.assert_array_equal(both['gt_bg_mask'], expected)
    assert empty['gt_bboxes'].shape == (0, 4) and not empty['gt_label'].any() and empty['gt_bg_mask'].all()


def test_dataset_without_boxes_is_told(tiny_voc):
    dataset = WeakVOCDataset('ImageSets/Segmentation/train.txt', str(tiny_voc.root), box_dir=None,
                             pipeline=[LoadImage(), LoadWeakLabels()])
    with pytest.raises(ConfigError, match='box_dir'):
        dataset[0]


def test_tags_alone(tiny_voc):
    dataset = WeakVOCDataset('ImageSets/Segmentation/train.txt', str(tiny_voc.root),
                             pipeline=[LoadImage(), LoadWeakLabels(boxes=False), PackWeakInputs()])
    sample = dataset[1]['data_samples']
    assert sample.gt_label.nonzero().flatten().tolist() == [11, 14]
    assert set(sample.keys()) == {'gt_label'}


def test_background_mask_equals_filling_box_by_box():
    random = np.random.default_rng(0)
    for size in ((1, 1), (7, 13), (50, 41)):
        corners = random.uniform(0, 1, (6, 2, 2)) * np.array(size[::-1])
        corners[0] = np.round(corners[0])
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        boxes[1, 2:] = boxes[1, :2]   # no area: still one pixel
        boxes[2] = [0, 0, *size[::-1]] if size == (7, 13) else boxes[2]
        for count in (0, 1, 6):
            expected = np.ones(size, np.uint8)
            for x1, y1, x2, y2 in boxes[:count]:
                top, left = min(int(y1), size[0] - 1), min(int(x1), size[1] - 1)
                expected[top:max(int(np.ceil(y2)), top + 1), left:max(int(np.ceil(x2)), left + 1)] = 0
            np.testing.assert_array_equal(background_mask(boxes[:count].astype(np.float32), size), expected)


def test_label_maps(tmp_path):
    ids = np.array([[0, 1, 2], [255, 2, 0]])
    write_png(tmp_path / 'a.png', ids)
    write_png(tmp_path / 'b.png', np.ones((2, 3)))
    info = dict(seg_map_path=str(tmp_path / 'a.png'), seg_map_ret_path=str(tmp_path / 'b.png'), ori_shape=(2, 3))
    load = LoadLabelMaps(keys=('gt_seg_map', 'gt_seg_map_ret'))
    results = load(dict(info, seg_fields=[], num_classes=3))
    np.testing.assert_array_equal(results['gt_seg_map'], ids)
    assert (results['gt_seg_map_ret'] == 1).all() and results['seg_fields'] == ['gt_seg_map', 'gt_seg_map_ret']
    mapped = load(dict(info, seg_fields=[], num_classes=2, label_map={0: 0, 1: 255, 2: 1}))
    np.testing.assert_array_equal(mapped['gt_seg_map'], [[0, 255, 1], [255, 1, 0]])
    with pytest.raises(DataError, match=r'a.png: holds the ids \[2\]') as error:
        load(dict(info, seg_fields=[], num_classes=2))
    assert '0 … 1' in str(error.value)
    with pytest.raises(DataError, match='label map of 2 x 3 .* for an image of 4 x 3'):
        load(dict(info, seg_fields=[], ori_shape=(4, 3)))
    with pytest.raises(ConfigError, match='seg_map_ret_path'):
        load(dict(seg_map_path=info['seg_map_path'], seg_fields=[]))
    with pytest.raises(ConfigError, match='keys'):
        LoadLabelMaps(keys=('seg_map',))


# ---- geometry

@pytest.mark.parametrize('seed', range(8))
def test_everything_tracks_a_painted_rectangle(seed):
    np.random.seed(seed)
    height, width = 60 + 7 * (seed % 3), 90 - 13 * (seed % 2)
    image = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = 20, 11, 61, 47
    image[top:bottom, left:right] = 255
    painted = np.zeros((height, width), np.uint8)
    painted[top:bottom, left:right] = 7
    pipeline = Compose([RandomScale(), RandomCropWithBoxes((49, 65), image_pad=(0, 0, 0)),
                        TRANSFORMS.build(dict(type='RandomFlip', prob=.5)), PackWeakInputs()])
    boxes = [(left, top, right, bottom)]
    out = pipeline(results_of(image, boxes, gt_seg_map=painted, gt_seg_map_ret=painted // 7,
                              gt_bg_mask=background_mask(np.array(boxes), (height, width))))
    batch = preprocessor(size=(64, 80))(dict(inputs=[out['inputs']], data_samples=[out['data_samples']]), True)
    sample, pixels = batch['data_samples'][0], batch['inputs'][0, 0]
    crf, ret, background = (getattr(sample, k).data[0] for k in ('gt_sem_seg', 'gt_sem_seg_ret', 'gt_bg_mask'))
    assert pixels.shape == crf.shape == ret.shape == background.shape == (64, 80)
    assert torch.equal(crf == 7, ret == 1) and torch.equal(crf == 255, background == 255)
    assert torch.equal(crf == 7, background == 0) and torch.equal(crf == 255, ret == 255)
    assert (crf[49:] == 255).all() and (crf[:, 65:] == 255).all()
    inside = (crf == 7).nonzero()
    low, high = inside.amin(0), inside.amax(0) + 1
    x1, y1, x2, y2 = sample.gt_instances.bboxes[0].tolist()
    # nearest sampling and flips may move a map's border by a pixel against the fractional box
    np.testing.assert_allclose([low[1], low[0], high[1], high[0]], [x1, y1, x2, y2], atol=1.01)
    agreement = ((pixels > 127) == (crf == 7)).float().mean()
    assert agreement > .97


def test_crop_alone_is_exact_and_carries_coordinates():
    image, x, y = coordinates(80, 120)
    for seed in range(5):
        np.random.seed(seed)
        out = RandomCropWithBoxes((33, 47))(results_of(image, [(10, 20, 100, 70)], gt_seg_map=x, gt_seg_map_ret=y))
        np.testing.assert_array_equal(out['img'][..., 0], out['gt_seg_map'])
        np.testing.assert_array_equal(out['img'][..., 1], out['gt_seg_map_ret'])
        x0, y0 = int(out['gt_seg_map'][0, 0]), int(out['gt_seg_map_ret'][0, 0])
        expected = np.clip(np.array([10 - x0, 20 - y0, 100 - x0, 70 - y0]), 0, [47, 33, 47, 33])
        assert out['gt_bboxes'].tolist() == [expected.tolist()] and out['img_shape'] == (33, 47)


def test_every_offset_of_the_crop_is_drawn():
    image, _, _ = coordinates(5, 4)
    np.random.seed(0)
    drawn = {tuple(RandomCropWithBoxes(3)(results_of(image))['img'][0, 0, :2]) for _ in range(200)}
    assert drawn == {(x, y) for x in range(2) for y in range(3)}


def test_small_images_are_padded_on_both_sides():
    image, x, _ = coordinates(6, 9)
    out = RandomCropWithBoxes(10, image_pad=(1, 2, 3))(results_of(image, [(0, 0, 9, 6)], gt_seg_map=x))
    # deficit 4 in height: 2 above; odd deficit 1 in width: in front
    np.testing.assert_array_equal(out['img'][2:8, 1:], image)
    assert (out['img'][:2] == [1, 2, 3]).all() and (out['img'][:, 0] == [1, 2, 3]).all()
    assert (out['gt_seg_map'][8:] == 255).all() and (out['gt_seg_map'][:, 0] == 255).all()
    assert out['gt_bboxes'].tolist() == [[1, 2, 10, 8]]


def test_boxes_without_overlap_go_and_slivers_stay_unless_unwanted():
    image = np.zeros((20, 20, 3), np.uint8)
    boxes = [(0, 0, 10, 10), (10, 0, 20, 5), (9.5, 3, 20, 9), (0, 0, 20, 20)]
    crop = RandomCropWithBoxes(10)
    crop._offset = lambda margin: 0
    out = crop(results_of(image, boxes))
    assert out['gt_bboxes_labels'].tolist() == [0, 2, 3]
    assert out['gt_bboxes'][1].tolist() == [9.5, 3, 10, 9]
    crop.min_visible = 2
    assert crop(results_of(image, boxes))['gt_bboxes_labels'].tolist() == [0, 3]
    none = crop(results_of(image, [(15, 15, 20, 20)]))
    assert none['gt_bboxes'].shape == (0, 4)


def test_scale_multiplies_boxes_and_keeps_maps_on_the_image():
    image = np.repeat(np.repeat(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, 10, 0), 10, 1)
    out = RandomScale((1.5, 1.5))(results_of(np.stack([image] * 3, 2), [(10, 0, 20.5, 10)], gt_seg_map=image,
                                             gt_seg_map_ret=image))
    assert out['img'].shape == (30, 45, 3) and out['gt_seg_map'].shape == (30, 45)
    np.testing.assert_allclose(out['gt_bboxes'], [[15, 0, 30.75, 15]])
    np.testing.assert_array_equal(out['gt_seg_map'], out['gt_seg_map_ret'])
    assert set(np.unique(out['gt_seg_map'])) == set(np.unique(image))   # nearest makes no new ids
    # an odd size: boxes follow the rounded size
    out = RandomScale((.5, .5))(results_of(np.zeros((5, 7, 3), np.uint8), [(0, 0, 7, 5)]))
    assert out['gt_bboxes'].tolist() == [[0, 0, *out['img'].shape[1::-1]]]
    assert RandomScale((.01, .01))(results_of(np.zeros((9, 9, 3), np.uint8)))['img'].shape == (1, 1, 3)


def test_random_draws_follow_numpys_seed_and_are_uniform():
    def ratios(count):
        return [RandomScale((.5, 1.5))(results_of(np.zeros((1000, 8, 3), np.uint8)))['img'].shape[0] / 1000
                for _ in range(count)]
    np.random.seed(3)
    first = ratios(200)
    np.random.seed(3)
    assert ratios(200) == first
    assert min(first) < .55 and max(first) > 1.45 and abs(np.mean(first) - 1) < .06


# ---- colour

def test_colour_jitter_by_hand():
    image = np.array([[[10, 20, 30], [200, 100, 50]]], np.uint8)
    jitter = ColorJitter()
    jitter._factors = lambda: np.array([1.5, 1, 1])
    assert jitter(dict(img=image))['img'].tolist() == [[[15, 30, 45], [255, 150, 75]]]
    grey = [round(.114 * b + .587 * g + .299 * r) for b, g, r in image[0].tolist()]
    jitter._factors = lambda: np.array([1, 1, 0])
    np.testing.assert_allclose(jitter(dict(img=image))['img'][0], np.repeat(np.array(grey)[:, None], 3, 1), atol=1)
    jitter._factors = lambda: np.array([1, .5, 1])
    np.testing.assert_allclose(jitter(dict(img=image))['img'][0], .5 * image[0] + .5 * np.mean(grey), atol=1)
    jitter._factors = lambda: np.array([1, 1, 1.5])
    expected = np.clip(1.5 * image[0] - .5 * np.array(grey)[:, None], 0, 255)
    np.testing.assert_allclose(jitter(dict(img=image))['img'][0], expected, atol=1)


def test_colour_jitter_without_width_changes_nothing_and_never_its_input():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    kept = image.copy()
    np.testing.assert_array_equal(ColorJitter(0, 0, 0)(dict(img=image))['img'], kept)
    ColorJitter()(dict(img=image))
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize('make', [lambda: ColorJitter(brightness=2), lambda: RandomScale((0, 1)),
                                  lambda: RandomScale((2, 1)), lambda: RandomCropWithBoxes(0)])
def test_impossible_settings(make):
    with pytest.raises(ConfigError):
        make()


# ---- packing and batching

def test_packed_sample(tiny_voc):
    labels = [tiny_voc.labels(name, ['a', 'b', 'empty'], value) for name, value in (('Y_crf', 1), ('Y_ret', 2))]
    dataset = WeakVOCDataset(
        'ImageSets/Segmentation/train.txt', str(tiny_voc.root),
        label_dirs=dict(seg_map=labels[0], seg_map_ret=labels[1]),
        pipeline=[LoadImage(), LoadWeakLabels(), LoadLabelMaps(('gt_seg_map', 'gt_seg_map_ret')), PackWeakInputs()])
    packed = [dataset[i] for i in range(3)]
    sample = packed[1]['data_samples']
    assert sample.gt_sem_seg.data.dtype == sample.gt_sem_seg_ret.data.dtype == torch.int64
    assert (sample.gt_sem_seg.data == 1).all() and (sample.gt_sem_seg_ret.data == 2).all()
    assert sample.gt_instances.bboxes.dtype == torch.float32 and sample.gt_instances.labels.dtype == torch.int64
    assert sample.gt_label.dtype == torch.float32 and sample.gt_label.nonzero().flatten().tolist() == [11, 14]
    assert sample.img_id == 'b' and tuple(sample.ori_shape) == (40, 31)
    assert packed[2]['data_samples'].gt_instances.bboxes.shape == (0, 4)

    # images of odd, different sizes in one batch
    batch = preprocessor()(dict(inputs=[p['inputs'] for p in packed],
                                data_samples=[p['data_samples'] for p in packed]), True)
    assert batch['inputs'].shape == (3, 3, 40, 47)
    for name, sample in zip(['a', 'b', 'empty'], batch['data_samples'], strict=True):
        height, width = tiny_voc.sizes[name]
        for key in ('gt_sem_seg', 'gt_sem_seg_ret', 'gt_bg_mask'):
            data = getattr(sample, key).data
            assert data.shape == (1, 40, 47)
            assert (data[:, height:] == 255).all() and (data[:, :, width:] == 255).all()
            assert (data[:, :height, :width] != 255).all()
        assert sample.pad_shape == (40, 47) and tuple(sample.img_shape) == (height, width)


def test_batching_without_any_label_map_and_at_test_time():
    def one():
        return PackWeakInputs()(results_of(np.zeros((5, 7, 3), np.uint8), gt_bg_mask=np.ones((5, 7), np.uint8)))
    packed = one()
    batch = preprocessor(size_divisor=8)(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), True)
    assert batch['inputs'].shape[-2:] == batch['data_samples'][0].pad_shape == (8, 8)
    packed = one()
    batch = preprocessor()(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), False)
    assert batch['data_samples'][0].gt_bg_mask.data.shape == (1, 5, 7)
