"""Masks from attribution maps: the published steps against a plain version of them, fallbacks, hand cases."""

import cv2
import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.explainers import object_maps
from wsss_mm.refinement import DenseCRF, MaskBuilder
from wsss_mm.refinement.box_prior import box_prior_masks, inner_boxes
from wsss_mm.refinement.mask_builder import attribution, blur_in_box, exclude, saturate


@pytest.fixture
def image():
    """A dark and a bright patch on grey, with a little noise: 60 x 80."""
    noise = np.random.default_rng(0).normal(0, 3, (60, 80, 3))
    found = np.full((60, 80, 3), 120.)
    found[8:30, 10:34] = (30, 40, 50)
    found[35:55, 45:75] = (220, 200, 180)
    return np.clip(found + noise, 0, 255).astype(np.uint8)


def maps_of(boxes, grids, statuses=None, size=(60, 80)):
    boxes = np.array(boxes, np.float32)
    return object_maps('a', size, size, boxes, np.arange(len(boxes)), 10 + np.arange(len(boxes)),
                       grids=[np.asarray(g, np.float32) for g in grids], statuses=statuses or ['ok'] * len(boxes))


def random_maps(count=4, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 35, (count, 2))
    return maps_of(np.concatenate([low, low + rng.uniform(8, 24, (count, 2))], 1),
                   [rng.random((rng.integers(3, 9), rng.integers(3, 9))) ** 3 for _ in range(count)])


# higher in the middle than at the border, as maps are
BUMP = np.pad(np.ones((3, 3)), 1)


class NoCRF:
    """In the place of a CRF: what goes in comes out, or nothing does; keeps what went in."""

    def __init__(self, factor=1):
        self.factor, self.seen = factor, []

    def prepare(self, image):
        return self

    def refine_objects(self, foreground):
        self.seen.append(foreground.copy())
        return self.factor * foreground


def builder_with(crf, **settings):
    builder = MaskBuilder(**settings)
    builder.crf = crf
    return builder


# ---- the steps

@pytest.mark.parametrize('threshold, highest', [(.85, 17), (.2, 4), (0, 1), (1, 20)])
def test_threshold_is_a_part_of_the_box(threshold, highest):
    """20 pixels of the values 1 to 20: rank int(20 (1 - threshold)) of the falling order is divided by."""
    values = np.zeros((9, 9), np.float32)
    values[2:6, 3:8] = np.random.default_rng(0).permutation(20).reshape(4, 5) + 1
    found = saturate(values, np.array([3, 2, 8, 6]), threshold)
    np.testing.assert_allclose(found, np.clip(values / highest, 0, 1), rtol=1e-6)
    assert threshold == 0 or (found == 1).sum() == 21 - highest


@pytest.mark.parametrize('box', [(0, 0, 80, 60), (5, 9, 30, 20), (60, 40, 80, 60), (0, 20, 3, 22)])
@pytest.mark.parametrize('sigma', [1, 7, 33])
def test_blur_of_a_window_is_that_of_the_image(box, sigma):
    x1, y1, x2, y2 = box
    values = np.zeros((60, 80), np.float32)
    values[y1:y2, x1:x2] = np.random.default_rng(sigma).random((y2 - y1, x2 - x1))
    inside = np.zeros_like(values)
    inside[y1:y2, x1:x2] = 1
    whole = cv2.GaussianBlur(values, (2 * sigma + 1, 2 * sigma + 1), sigma) * inside
    whole = (whole - whole.min()) / whole.max()
    np.testing.assert_allclose(blur_in_box(values, np.array(box), sigma), whole, atol=1e-6)


def test_attribution_is_stretched_and_cut_to_the_box():
    full = np.array([[.2, .4, .6], [.8, .2, 1.]], np.float32)
    np.testing.assert_allclose(attribution(full, np.array([1, 0, 3, 2])), [[0, .2, .4], [0, 0, .8]], atol=1e-7)
    assert not attribution(np.zeros((2, 2), np.float32), np.array([0, 0, 2, 2])).any()


def test_objects_of_a_crf_do_not_meet(image):
    """Together as alone, to the bit, and as the CRF of the pair [p, 1 - p]."""
    p = np.stack([attribution(m.full_size(0), np.array([0, 0, 80, 60])) for m in map(random_maps, [1] * 20, range(20))])
    crf = DenseCRF(preset='bbam').prepare(image)
    together = crf.refine_objects(p)
    assert np.array_equal(together, np.concatenate([crf.refine_objects(one[None]) for one in p]))
    pairs = np.stack([crf.refine(np.stack([one, 1 - one]))[0] for one in p])
    np.testing.assert_allclose(together, pairs, atol=2e-4)
    assert crf.refine_objects(p[:0]).shape == (0, 60, 80)
    assert np.array_equal(crf.refine_objects(torch.from_numpy(p[:2])), together[:2])


# ---- the whole

def plain_mask(image, crf, maps, n, threshold, blur):
    """One mask of one object as published, step by step, every CRF from the start."""
    (height, width), (x1, y1, x2, y2) = image.shape[:2], np.concatenate(
        [np.floor(maps.boxes[n][:2]), np.ceil(maps.boxes[n][2:])]).astype(int)
    inside = np.zeros((height, width), np.float32)
    inside[y1:y2, x1:x2] = 1
    area = (x2 - x1) * (y2 - y1)

    def cut(m):
        return crf(image, np.stack([m, 1 - m]))[0] > .9
    m = maps.full_size(n)
    m = (m - m.min()) / max(m.max(), 1e-9) * inside
    if not m.any():
        for prior in (.7, .8, .9, .95):
            mask = cut(np.float32(prior) * inside)
            if mask.sum() > area / 5:
                return mask
        return None
    value = np.sort(m.ravel())[::-1][int(area * (1 - threshold))]
    m = np.clip(m / (value + 1e-8), 0, 1)
    k = int(blur[0] + blur[1] * np.sqrt(area / (height * width)))
    m = cv2.GaussianBlur(m, (2 * k + 1, 2 * k + 1), k) * inside
    m = (m - m.min()) / m.max()
    first = mask = cut(m)
    if first.sum() > area / 5 or area > height * width / 10:
        return first
    for prior in (.7, .8, .9, .95, .96):
        mask = cut(np.where(first, 1, np.float32(prior) * inside))
        if mask.sum() > area / 3:
            return mask
    return mask


@pytest.mark.parametrize('seed', range(3))
def test_masks_are_those_of_the_published_steps(image, seed):
    maps = random_maps(5, seed)
    maps.grids[2][:] = 0
    maps.statuses[2] = 'no_positive'
    found = MaskBuilder(blur=(1, 4))(image, maps)
    crf = DenseCRF(preset='bbam')
    for n in range(5):
        sure, possible = (plain_mask(image, crf, maps, n, threshold, (1, 4)) for threshold in (.85, .2))
        if sure is None:
            assert found.statuses[n] == 'box_inner'
            continue
        if not sure.any():
            assert found.statuses[n] in ('box_prior', 'box_inner')
            continue
        expected = np.where(sure, 1, np.where(possible, 2, 0))
        assert (found.masks[n] != expected).sum() <= 2   # float32 at the cut
    assert found.ids.tolist() == [10, 11, 12, 13, 14] and found.labels.tolist() == [1, 2, 3, 4, 5]
    assert found.statuses[2] in ('box_prior', 'box_inner') and found.details[2]['explained'] == 'no_positive'
    assert {'ok', 'retried'} & set(found.statuses)


def test_an_object_does_not_depend_on_the_others(image):
    maps = random_maps(4, 1)
    together = MaskBuilder(blur=(1, 4))(image, maps)
    for n in range(4):
        alone = MaskBuilder(blur=(1, 4))(image, maps_of(maps.boxes[n:n + 1], maps.grids[n:n + 1]))
        assert np.array_equal(alone.masks[0], together.masks[n]) and alone.statuses[0] == together.statuses[n]


@pytest.mark.parametrize('preset', ['official', 'paper'])
def test_the_object_is_found(image, preset):
    """A coarse map over the dark patch, in a box that is wider: the CRF brings it to the patch."""
    grid = np.zeros((12, 16))
    grid[2:6, 3:6] = 1
    found = MaskBuilder(preset, blur=(1, 2))(image, maps_of([(4, 4, 44, 36)], [grid])).masks[0] == 1
    truth = np.zeros((60, 80), bool)
    truth[8:30, 10:34] = True
    assert (found & truth).sum() / (found | truth).sum() > .8


def one_object(high, box=(10, 10, 30, 30), size=(100, 100)):
    """A map of ``high`` pixels in a row of the box's first line, at the image's own size."""
    grid = np.zeros(size)
    grid[box[1], box[0]:box[0] + high] = 1
    return maps_of([box], [grid], size=size)


def test_masks_that_are_too_small_are_grown(image):
    """8 of 400 pixels; with nothing changed by the CRF, the prior of .95 is the first above the cut of .9."""
    crf = NoCRF()
    found = builder_with(crf, blur=())(np.zeros((100, 100, 3), np.uint8), one_object(8))
    assert found.statuses == ['retried'] and (found.masks[0] == 1).sum() == 400
    assert [s.shape for s in crf.seen] == [(2, 100, 100)] * 5
    for prior, seen in zip((.7, .8, .9, .95), crf.seen[1:], strict=True):
        assert np.allclose(seen[:, 10, 10:18], 1) and np.allclose(seen[:, 11:30, 10:30], prior)
        assert seen.sum() == pytest.approx(2 * (8 + 392 * prior), rel=1e-5)


def test_the_last_retry_stays():
    """Without a prior that is enough: the first mask's 8 pixels."""
    found = builder_with(NoCRF(), blur=(), retries=(.5, .6))(np.zeros((100, 100, 3), np.uint8), one_object(8))
    assert found.statuses == ['retried'] and (found.masks[0] == 1).sum() == 8


def test_small_masks_of_large_boxes_and_others_above_a_fifth_are_accepted():
    blank = np.zeros((100, 100, 3), np.uint8)
    found = builder_with(NoCRF(), blur=())(blank, one_object(8, (10, 10, 42, 42)))   # 1,024 of 10,000 pixels
    assert found.statuses == ['ok'] and (found.masks[0] == 1).sum() == 8
    grid = np.zeros((100, 100))
    grid[10:14, 10:30] = 1   # 80 of 400 pixels: a fifth is not more than a fifth
    assert builder_with(NoCRF(), blur=())(blank, maps_of([(10, 10, 30, 30)], [grid], size=(100, 100))
                                          ).statuses == ['retried']
    grid[14, 10] = 1
    assert builder_with(NoCRF(), blur=())(blank, maps_of([(10, 10, 30, 30)], [grid], size=(100, 100))
                                          ).statuses == ['ok']


def test_values_of_the_paper():
    """Without a CRF the thresholds are values of the map: above .8 the object, from .2 on ignored."""
    grid = np.zeros((4, 4))
    grid[1, :] = [1, .81, .79, .15]
    found = builder_with(NoCRF(), preset='paper')(np.zeros((4, 4, 3), np.uint8),
                                                  maps_of([(0, 0, 4, 4)], [grid], size=(4, 4)))
    assert found.masks[0].tolist() == [[0] * 4, [1, 1, 2, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize('status', ['no_positive', 'all_zero', 'diverged'])
def test_objects_without_a_map_get_one_of_their_box(status):
    crf = NoCRF()
    maps = maps_of([(10, 10, 30, 30), (50, 50, 70, 80)], [BUMP, BUMP], [status, 'ok'], (100, 100))
    found = builder_with(crf, blur=())(np.zeros((100, 100, 3), np.uint8), maps)
    assert found.statuses == ['box_prior', 'ok']
    assert (found.masks[0] == 1).sum() == 400 and (found.masks[1] == 1).sum() == 540
    assert [len(s) for s in crf.seen] == [2, 1, 1, 1, 1]   # both masks of the second, then four priors of the first


def test_without_any_posterior_the_inner_box_is_the_object():
    found = builder_with(NoCRF(0), blur=())(np.zeros((100, 100, 3), np.uint8), one_object(8))
    assert found.statuses == ['box_inner']
    mask = found.masks[0]
    assert (mask[14:26, 14:26] == 1).all() and (mask == 1).sum() == 144 and (mask == 2).sum() == 256


def test_inner_boxes_have_a_pixel():
    masks = inner_boxes(np.array([[0, 0, 1, 1], [2, 0, 4, 1], [0, 0, 5, 5]]), (5, 5))
    assert (masks == 1).sum((1, 2)).tolist() == [1, 1, 9] and (masks == 2).sum((1, 2)).tolist() == [0, 1, 16]


def test_priors_stop_for_each_box_alone(image):
    """Each box gets the mask it gets alone, whichever prior that needs."""
    boxes = np.array([[10, 8, 34, 30], [0, 0, 80, 60], [50, 5, 55, 9]])
    crf = DenseCRF(preset='bbam').prepare(image)
    masks, accepted = box_prior_masks(crf, boxes, (60, 80))
    for n in range(3):
        alone, good = box_prior_masks(crf, boxes[n:n + 1], (60, 80))
        assert np.array_equal(alone[0], masks[n]) and good[0] == accepted[n]


def test_pixels_of_two_objects():
    """The higher attribution has them, of equal ones the smaller box."""
    masks = np.ones((3, 1, 4), np.uint8)
    masks[2, 0, 3] = 2
    attributions = np.array([[[.9, .5, .5, .1]], [[.8, .5, .6, .1]], [[.1, .1, .6, .9]]], np.float32)
    boxes = np.array([[0, 0, 4, 1], [0, 0, 3, 1], [0, 0, 2, 1]])
    assert exclude(masks, attributions, boxes)[:, 0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 2]]
    assert exclude(masks[:0], attributions[:0], boxes[:0]).shape == (0, 1, 4)


def test_exclusive_objects_share_no_pixel(image):
    maps = maps_of([(5, 5, 40, 40), (20, 5, 50, 40)], [BUMP, BUMP])
    together = MaskBuilder(blur=(1, 2))(image, maps).masks == 1
    apart = MaskBuilder(blur=(1, 2), exclusive=True)(image, maps).masks == 1
    assert together.all(0).any() and not apart.all(0).any()
    assert np.array_equal(together.any(0), apart.any(0))


# ---- what is wrong

def test_boxes_outside_have_no_mask_and_shift_nothing(image):
    maps = random_maps(2, 3)
    other = maps_of([maps.boxes[0], (90, 3, 99, 9), maps.boxes[1]], [maps.grids[0], np.ones((3, 3)), maps.grids[1]],
                    ['ok', 'invalid', 'ok'])
    found, expected = MaskBuilder(blur=(1, 4))(image, other), MaskBuilder(blur=(1, 4))(image, maps)
    assert not found.masks[1].any() and found.statuses[1] == 'invalid'
    assert np.array_equal(found.masks[[0, 2]], expected.masks)


def test_many_objects_are_done_some_at_a_time(image, monkeypatch):
    maps = random_maps(5, 2)
    maps.grids[1][:] = maps.grids[4][:] = 0
    together = MaskBuilder(blur=(1, 4))(image, maps)
    monkeypatch.setattr('wsss_mm.refinement.mask_builder._AT_ONCE', 2)
    apart = MaskBuilder(blur=(1, 4))(image, maps)
    assert np.array_equal(together.masks, apart.masks) and together.statuses == apart.statuses


def test_images_without_objects(image):
    assert MaskBuilder()(image, maps_of(np.zeros((0, 4)), [])).masks.shape == (0, 60, 80)


def test_wrong_settings_and_sizes_are_refused(image):
    with pytest.raises(ConfigError, match="preset='best'"):
        MaskBuilder('best')
    with pytest.raises(ConfigError, match='bg_threshold <= fg_threshold'):
        MaskBuilder(fg_threshold=.2, bg_threshold=.8)
    with pytest.raises(ConfigError, match='thresholds'):
        MaskBuilder(thresholds='rank')
    with pytest.raises(ConfigError, match='smallest, added'):
        MaskBuilder(blur=(3,))
    with pytest.raises(DataError, match='60 x 80'):
        MaskBuilder()(image[:50], random_maps(1))
