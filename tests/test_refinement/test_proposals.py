"""Proposals over superpixels: exact against masks, the refinement rule against pixels and by hand, broken arrays."""

import numpy as np
import pytest

from wsss_mm.errors import DataError
from wsss_mm.refinement import Proposals, proposals, refine_mask, refine_masks, refine_pairs


def blobs(rng, count, height, width):
    """Masks of one to three boxes each."""
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        for _ in range(rng.integers(1, 4)):
            y, x = rng.integers(0, height - 1), rng.integers(0, width - 1)
            mask[y:y + rng.integers(1, height), x:x + rng.integers(1, width)] = True
    return masks


@pytest.mark.parametrize('seed', range(8))
def test_counts_are_those_of_the_masks(seed):
    rng = np.random.default_rng(seed)
    height, width, count = rng.integers(4, 40, 3)
    own, others = blobs(rng, count, height, width), blobs(rng, 3, height, width)
    found = Proposals.from_masks(own, rng.random(count))
    assert np.array_equal(found.masks(np.arange(count)), own)
    assert np.array_equal(found.areas, own.sum((1, 2)))
    shared = (own & others[:, None]).sum((2, 3))
    assert np.array_equal(found.sums(found.counts(others)), shared)
    np.testing.assert_array_equal(found.iou(others), shared / (own | others[:, None]).sum((2, 3)))
    np.testing.assert_array_equal(found.containment(others), shared / own.sum((1, 2)))
    weights = rng.random((height, width))
    np.testing.assert_allclose(found.sums(found.counts(weights)), (own * weights).sum((1, 2)), rtol=1e-12)
    some = rng.permutation(count)[:3]
    assert np.array_equal(found.union(some), own[some].any(0)) and np.array_equal(found.mask(2), own[2])
    assert np.array_equal(found.subset(some).masks(range(3)), own[some])
    np.testing.assert_array_equal(found.subset(some).scores, found.scores[some])


def test_superpixels_are_the_partition_that_the_masks_generate():
    masks = np.array([[[1, 1, 0, 0], [1, 1, 0, 0]], [[0, 1, 1, 0], [0, 1, 1, 0]]], np.uint8)
    found = Proposals.from_masks(masks)
    assert found.superpixels.tolist() == [[0, 1, 2, 3]] * 2
    assert found.indptr.tolist() == [0, 2, 4] and found.indices.tolist() == [0, 1, 1, 2]


def test_a_chance_agreement_of_hashes_changes_nothing(monkeypatch):
    """With a hash that is the same for all pixels, the columns themselves decide."""
    masks = blobs(np.random.default_rng(0), 20, 9, 11)
    expected = Proposals.from_masks(masks)
    monkeypatch.setattr(proposals, '_hashes', lambda packed: np.zeros(packed.shape[1], np.uint64))
    found = Proposals.from_masks(masks)
    assert np.array_equal(found.superpixels, expected.superpixels)
    assert np.array_equal(found.masks(range(20)), masks)


def test_order_and_repeats_of_indices_do_not_matter():
    pixels = np.arange(6).reshape(2, 3)
    one = Proposals(pixels, np.array([0, 3, 3, 5]), np.array([4, 1, 4, 0, 5]))
    assert one.indices.tolist() == [1, 4, 0, 5] and one.areas.tolist() == [2, 0, 2]
    assert one.iou(np.ones((2, 3), bool)).tolist() == [1 / 3, 0, 1 / 3]
    assert one.containment(np.zeros((2, 3), bool)).tolist() == [0, 0, 0]


def test_file_keeps_everything(tmp_path):
    rng = np.random.default_rng(1)
    for scores in (None, rng.random(7)):
        whole = Proposals.from_masks(blobs(rng, 7, 12, 9), scores)
        (tmp_path / 'a.npz').write_bytes(whole.to_bytes())
        found = Proposals.load(tmp_path / 'a.npz')
        assert found.to_bytes() == whole.to_bytes() and np.array_equal(found.masks(range(7)), whole.masks(range(7)))
        assert (found.scores is None) == (scores is None)


@pytest.mark.parametrize('changed, words', [
    (dict(superpixels=np.array([[0, -1]])), 'superpixels -1 to 0'),
    (dict(superpixels=np.array([[0, 9]])), '10 of them'),
    (dict(superpixels=np.zeros((2, 2))), 'float64'), (dict(superpixels=np.zeros((0, 2), int)), r'\(0, 2\)'),
    (dict(indptr=np.array([0, 3])), 'indptr from 0 to 3'), (dict(indptr=np.array([0, 2, 1, 2])), 'indptr from 0 to 2'),
    (dict(indptr=np.zeros(0, int)), r'indptr \(0,\)'), (dict(indices=np.array([0, 2])), 'indices 0 to 2'),
    (dict(scores=np.zeros(3)), r'scores \(3,\) for 1'), (dict(num_superpixels=10**12), '1000000000000 of them')])
def test_arrays_that_do_not_fit_are_refused(changed, words):
    fitting = dict(superpixels=np.array([[0, 1]]), indptr=np.array([0, 2]), indices=np.array([0, 1]))
    assert len(Proposals(**fitting)) == 1
    with pytest.raises(DataError, match=words):
        Proposals(**{**fitting, **changed})


@pytest.mark.parametrize('masks, words', [
    ([], 'no masks'), ([np.zeros((2, 2)), np.zeros((2, 2))], 'float64'), ([np.full((2, 2), 2)], 'values 2 to 2'),
    ([np.ones((2, 2), bool), np.ones((2, 3), bool)], r'mask 1 has the shape \(2, 3\)')])
def test_masks_that_are_none_are_refused(masks, words):
    with pytest.raises(DataError, match=words):
        Proposals.from_masks(masks)


def by_pixels(mask, box, masks, superpixels, official):
    """The rule as the text has it, one proposal after the other."""
    window = np.ones_like(mask)
    if official:
        x1, y1, x2, y2 = box
        window = np.zeros_like(mask)
        window[y1:y2, x1:x2] = True
        if (x2 - x1) * (y2 - y1) < 32 ** 2:
            return mask
    outside = set(np.unique(superpixels)) - set(np.unique(superpixels[window]))
    best, highest, result = None, 0, np.zeros_like(mask)
    for m in masks:
        if m.sum() == 0 or outside & set(np.unique(superpixels[m])):
            continue
        iou = (m & mask).sum() / (m | mask).sum()
        if iou > highest and (not official or (m & window).sum() / m.sum() > .95):
            best, highest = m, iou
        if (m & mask).sum() / m.sum() > .95 if official else not (m & ~mask).any():
            result |= m
    return mask if best is None else (result | best) & window


@pytest.mark.parametrize('official', [True, False])
def test_rule_equals_that_of_the_pixels(official):
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(60):
        height, width = rng.integers(36, 60, 2)
        superpixels = (np.arange(height)[:, None] // 5 * 20 + np.arange(width) // 5)
        superpixels = np.unique(superpixels, return_inverse=True)[1].reshape(height, width)
        table = rng.random((60, superpixels.max() + 1)) < rng.choice([.01, .1, .5])
        small = rng.random((60, 4))   # and boxes of superpixels, some of which lie in the object
        rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
        table[:40] = False
        for k in range(40):
            y, x, h, w = small[k]
            near = (rows >= y) & (rows < y + h / 3) & (columns >= x) & (columns < x + w / 3)
            table[k, np.unique(superpixels[near])] = True
        k, index = table.nonzero()
        found = Proposals(superpixels, np.searchsorted(k, np.arange(61)), index)
        masks = table[:, superpixels]
        objects = blobs(rng, 4, height, width)
        boxes = np.array([[x, y, x + rng.integers(20, 36), y + rng.integers(30, 36)] for x, y in
                          rng.integers(0, 12, (4, 2))]).clip(0, [width, height] * 2)
        refined = refine_masks(objects, boxes, found, official)
        for mask, box, own in zip(objects, boxes, refined, strict=True):
            assert np.array_equal(own, by_pixels(mask, box, masks, superpixels, official))
            changed += (own != mask).any()
    assert changed > 30


def hand_case():
    """Columns of 10 x 40 pixels; the object is columns 1 and 2, the mask misses half of 2 and has a bit of 3."""
    pixels = np.broadcast_to(np.arange(60) // 10, (40, 60))
    sets = [[0, 1, 2, 3, 4, 5], [1, 2], [1], [3], [2, 5]]
    found = Proposals(pixels, np.cumsum([0, *map(len, sets)]), np.concatenate(sets))
    mask = np.zeros((40, 60), bool)
    mask[:, 10:25] = mask[:4, 30:40] = True
    return found, mask


def test_rule_by_hand():
    found, mask = hand_case()
    whole = np.zeros((40, 60), bool)
    whole[:, 10:30] = True
    assert np.array_equal(refine_mask(mask, [10, 0, 45, 40], found), whole)
    # a box that cuts a tenth off column 1: [1, 2] has 95 % inside, no more, so 3 is best; 1 is contained in the mask
    cut = ((found.superpixels == 1) | (found.superpixels == 3)) & (np.arange(60) >= 11)
    assert np.array_equal(refine_mask(mask, [11, 0, 45, 40], found), cut)
    assert np.array_equal(refine_mask(mask, [10, 0, 41, 33], found), mask)   # below 32² pixels of area: 31 x 33 = 1023
    nothing = np.zeros_like(mask)
    assert not refine_mask(nothing, [0, 0, 60, 40], found).any()
    far = found.superpixels == 5
    assert np.array_equal(refine_mask(far, [0, 0, 60, 40], found.subset([1, 2, 3])), far)   # none has a common pixel
    assert np.array_equal(refine_mask(mask, [0, 0, 60, 40], found.subset([])), mask)
    # the rule of the paper looks at no box
    assert np.array_equal(refine_mask(mask, [0, 0, 1, 1], found, official=False), whole)


def test_95_percent_are_not_more_than_95_percent():
    pixels = np.zeros((40, 60), int)
    pixels[:, 40:] = 1
    found = Proposals(pixels, np.array([0, 1]), np.array([0]))   # 40 columns
    mask = np.zeros((40, 60), bool)
    mask[5:35, 5:35] = True
    assert np.array_equal(refine_mask(mask, [2, 0, 60, 40], found), mask)   # 38 of 40
    refined = refine_mask(mask, [1, 0, 60, 40], found)   # 39 of 40, the rest cut off
    assert np.array_equal(refined, (pixels == 0) & (np.arange(60) >= 1))


def test_what_is_sure_is_possible():
    found, mask = hand_case()
    sure, possible = refine_pairs(mask[None], (found.superpixels == 3)[None], [[10, 0, 45, 40]], found)
    assert np.array_equal(possible[0], sure[0] | (found.superpixels == 3)) and (sure <= possible).all()


def test_masks_of_another_image_are_refused():
    found, mask = hand_case()
    with pytest.raises(DataError, match=r'masks \(1, 40, 59\) for proposals of an image of 40 x 60'):
        refine_mask(mask[:, 1:], [0, 0, 9, 9], found)
    with pytest.raises(DataError, match=r'boxes \(1, 4\) for 2 masks'):
        refine_masks(np.stack([mask, mask]), [[0, 0, 9, 9]], found)
