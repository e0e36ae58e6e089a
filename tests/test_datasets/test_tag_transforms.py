"""The tag methods' augmentation: Pillow's bicubic scaling to a long side, padding at random, torchvision's jitter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.registry import MODELS, TRANSFORMS
from PIL import Image, ImageEnhance

from wsss_mm.datasets.transforms import ColorJitter, PackWeakInputs, RandomCropWithBoxes, RandomLongSide
from wsss_mm.errors import ConfigError

from .test_transforms import results_of

ROOT = Path(__file__).resolve().parents[2]


def picture(height, width, seed=0):
    """Smooth colours, as a photograph has."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


# ---- long side

@pytest.mark.parametrize('size, side, expected', [
    ((375, 500), 320, (240, 320)), ((333, 500), 640, (426, 640)),   # 426.24
    ((500, 375), 401, (401, 301)),                                  # 300.75
    ((25, 50), 25, (12, 25)), ((35, 50), 25, (18, 25)),             # 12.5 and 17.5: half to even
    ((1, 300), 10, (1, 10))])
def test_long_side_and_pillows_pixels(size, side, expected):
    image = picture(*size)
    labels = (image[..., 0] // 16).copy()
    out = RandomLongSide(side, side)(results_of(image, [(0, 0, size[1], size[0])], gt_prior=labels))
    assert out['img'].shape[:2] == out['img_shape'] == expected
    wanted = Image.fromarray(image).resize(expected[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(out['img'], np.array(wanted))
    np.testing.assert_allclose(out['gt_bboxes'], [[0, 0, expected[1], expected[0]]], rtol=1e-6)
    assert out['gt_prior'].shape == expected and set(np.unique(out['gt_prior'])) <= set(np.unique(labels))


def test_every_long_side_is_drawn():
    np.random.seed(0)
    drawn = [RandomLongSide(7, 10)(results_of(np.zeros((20, 10, 3), np.uint8)))['img'].shape[0] for _ in range(400)]
    assert set(drawn) == {7, 8, 9, 10} and min(drawn.count(s) for s in set(drawn)) > 70


# ---- padding

def test_small_images_lie_anywhere_and_maps_and_boxes_with_them():
    np.random.seed(0)
    crop = RandomCropWithBoxes((5, 9), image_pad=(1, 2, 3), placement='random')
    places = set()
    for _ in range(200):
        image = np.full((3, 6, 3), 9, np.uint8)
        out = crop(results_of(image, [(0, 0, 6, 3)], gt_prior=np.full((3, 6), 7, np.uint8)))
        x1, y1, x2, y2 = out['gt_bboxes'][0].astype(int)
        inside = np.zeros((5, 9), bool)
        inside[y1:y2, x1:x2] = True
        assert (x2 - x1, y2 - y1) == (6, 3)
        np.testing.assert_array_equal(out['gt_prior'], np.where(inside, 7, 255))
        np.testing.assert_array_equal(out['img'], np.where(inside[..., None], 9, [1, 2, 3]))
        places.add((x1, y1))
    assert places == {(x, y) for x in range(4) for y in range(3)}


def test_a_side_that_fits_and_one_that_does_not():
    np.random.seed(0)
    crop = RandomCropWithBoxes((4, 4), placement='random')
    rows = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None], (9, 2, 3)).copy()
    found = {(int(out[0].min()) if (out := crop(results_of(rows, gt_prior=rows[..., 0]))['gt_prior'])[0].min() < 255
              else -1, int((out[0] != 255).argmax())) for _ in range(300)}
    assert found == {(y, x) for y in range(6) for x in range(3)}


@pytest.mark.parametrize('base', ['voc12_tags', 'coco14_tags'])
def test_padding_of_the_shipped_configs_is_zero_after_normalisation(base):
    cfg = Config.fromfile(ROOT / f'configs/_base_/{base}.py')
    crop = RandomCropWithBoxes(8, image_pad=cfg.image_pad)
    packed = PackWeakInputs()(crop(results_of(np.full((2, 2, 3), cfg.image_pad, np.uint8))))
    batch = MODELS.build(cfg.data_preprocessor)(
        dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), True)
    assert batch['inputs'][..., :8, :8].abs().max() < .01 and not batch['inputs'][..., 8:].any()
    for pipeline in (cfg.tag_pipeline, cfg.test_pipeline):
        Compose(pipeline)


# ---- colour

def torchvisions(image, brightness, contrast, saturation, turn, order):
    """torchvision's ColorJitter on an RGB Pillow image, written from its documentation."""
    def hue(x):
        if turn is None:
            return x
        h, s, v = (np.array(c) for c in x.convert('HSV').split())
        h = ((h.astype(int) + int(turn * 255)) % 256).astype(np.uint8)
        return Image.merge('HSV', [Image.fromarray(c) for c in (h, s, v)]).convert('RGB')
    steps = [lambda x: ImageEnhance.Brightness(x).enhance(brightness),
             lambda x: ImageEnhance.Contrast(x).enhance(contrast),
             lambda x: ImageEnhance.Color(x).enhance(saturation), hue]
    for step in order:
        image = steps[step](image)
    return np.array(image)


@pytest.mark.parametrize('seed', range(6))
def test_jitter_is_torchvisions(seed):
    image = picture(40, 50, seed)
    rng = np.random.default_rng(seed)
    jitter = ColorJitter(.4, .4, .4, .1, random_order=True)
    factors, turn, order = rng.uniform(.6, 1.4, 3), rng.uniform(-.1, .1), rng.permutation(4).tolist()
    jitter._factors, jitter._turn, jitter._order = lambda: factors, lambda: turn, lambda: order

    def differences(turned):
        ours = jitter(dict(img=np.ascontiguousarray(image[..., ::-1])))['img'][..., ::-1].astype(int)
        wanted = torchvisions(Image.fromarray(image), *factors, turned, order).astype(int)
        assert abs(image.astype(int) - wanted).mean() > 10
        return abs(ours - wanted)
    # Pillow truncates after each step where OpenCV rounds, and a step of its hue is six grey levels in full colours
    found = differences(turn)
    assert found.mean() < 2.1 and found.max() <= 16
    jitter.hue = 0
    found = differences(None)
    assert found.mean() < 2 and found.max() <= 4


def test_hue_turns_the_colour_circle():
    jitter = ColorJitter(0, 0, 0, .5)
    jitter._turn = lambda: 1 / 3
    red_to_green = jitter(dict(img=np.array([[[0, 0, 200]]], np.uint8)))['img'][0, 0]
    assert red_to_green[1] == 200 and red_to_green[[0, 2]].max() <= 5
    jitter._turn = lambda: -1 / 3
    assert jitter(dict(img=np.array([[[0, 0, 200]]], np.uint8)))['img'][0, 0, 0] == 200
    grey = np.full((2, 2, 3), 77, np.uint8)
    np.testing.assert_array_equal(jitter(dict(img=grey))['img'], grey)


def test_probability_order_and_the_draws_of_the_plain_jitter():
    image = picture(4, 5)
    np.random.seed(1)
    changed = np.mean([(ColorJitter(prob=.8)(dict(img=image))['img'] != image).any() for _ in range(500)])
    assert abs(changed - .8) < .06
    np.random.seed(2)
    orders = {tuple(ColorJitter(random_order=True)._order()) for _ in range(400)}
    assert len(orders) == 24
    # what hue, prob and order do not ask for draws nothing: three numbers an image, as ever
    np.random.seed(3)
    ColorJitter()(dict(img=image))
    state = np.random.rand()
    np.random.seed(3)
    np.random.uniform(.5, 1.5, 3)
    assert np.random.rand() == state


@pytest.mark.parametrize('make', [
    lambda: RandomLongSide(0, 5), lambda: RandomLongSide(9, 5), lambda: ColorJitter(hue=.6),
    lambda: ColorJitter(prob=1.1), lambda: RandomCropWithBoxes(5, placement='left')])
def test_impossible_settings(make):
    with pytest.raises(ConfigError):
        make()


def test_aefts_augmentation_from_a_config():
    """All parts by name, odd sizes in, one batch out."""
    pipeline = Compose([TRANSFORMS.build(dict(t)) for t in (
        dict(type='wsss_mm.RandomLongSide', low=20, high=41), dict(type='RandomFlip', prob=.5),
        dict(type='wsss_mm.ColorJitter', brightness=.4, contrast=.4, saturation=.4, hue=.1, prob=.8, random_order=True),
        dict(type='wsss_mm.RandomCropWithBoxes', crop_size=(32, 32), placement='random', image_pad=(104, 116, 124)),
        dict(type='wsss_mm.PackWeakInputs'))])
    for seed in range(6):
        np.random.seed(seed)
        results = results_of(picture(31, 57 - 9 * seed, seed), gt_prior=np.zeros((31, 57 - 9 * seed), np.uint8))
        packed = pipeline(results)
        assert packed['inputs'].shape == (3, 32, 32) and packed['inputs'].dtype == torch.uint8
        outside = packed['data_samples'].gt_prior.data[0] == 255
        assert (packed['inputs'][:, outside] == torch.tensor([[104], [116], [124]])).all()
