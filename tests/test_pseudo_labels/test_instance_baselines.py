"""Instances of boxes and pixels alone."""

import json

import numpy as np
import pytest

from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels.baselines import cut_object
from wsss_mm.pseudo_labels.instance_baselines import (
    BestProposalInstances,
    BoxCRFInstances,
    BoxInstances,
    GrabCutInstances,
    best_proposals,
    inner_mask,
)
from wsss_mm.refinement import Proposals
from wsss_mm.run_lengths import decode_mask
from wsss_mm.structures import ImageSample

NAMES = ('cat', 'dog')


def make_sample(image, boxes, labels):
    return ImageSample('a', image, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64),
                       np.unique(labels))


@pytest.fixture
def disc():
    """A bright disc on dark ground, both noisy, and the disc's mask."""
    y, x = np.mgrid[:60, :80]
    mask = (y - 30) ** 2 + (x - 40) ** 2 < 15 ** 2
    image = np.where(mask[..., None], [220, 180, 40], [40, 70, 60])
    return (image + np.random.default_rng(0).integers(-12, 12, image.shape)).astype(np.uint8), mask


@pytest.fixture
def proposals(monkeypatch):
    """Let a generator take given masks as its proposals."""

    class Given:
        masks: np.ndarray

        def __call__(self, image_id, image):
            return Proposals.from_masks(self.masks)

        def fingerprint(self):
            return dict(source='given')

    given = Given()
    monkeypatch.setattr('wsss_mm.pseudo_labels.instance_baselines.TASK_UTILS.build',
                        lambda cfg: given)
    monkeypatch.setattr('wsss_mm.pseudo_labels.instance_labels.TASK_UTILS.build', lambda cfg: given)
    return given


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def objects(generator, sample):
    found = generator.object_masks(sample, {}, {})
    assert found.masks.dtype == np.uint8 and (found.ids == sample.box_ids).all()
    return found


def test_filled_boxes_take_every_pixel_they_touch():
    sample = make_sample(np.zeros((5, 6, 3), np.uint8), [[1, 1, 3, 3], [3.5, 2, 9, 4.1]], [1, 2])
    found = objects(BoxInstances(classes=NAMES), sample)
    assert found.masks[0].tolist() == [[0] * 6, [0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0] * 6, [0] * 6]
    assert found.masks[1, 2:, 3:].all() and found.masks[1].sum() == 9 and list(found.statuses) == ['box', 'box']


def test_the_ring_around_the_middle_of_a_box_is_ignored():
    # 80 % of ten pixels are eight; of five, all five have their middles within four
    assert (inner_mask(10, 10) == np.pad(np.ones((8, 8), int), 1, constant_values=2)).all()
    assert (inner_mask(10, 5)[1:9] == 1).all() and (inner_mask(10, 5)[[0, 9]] == 2).all()
    ellipse = inner_mask(40, 60, 'ellipse', 1.)
    y, x = np.mgrid[:40, :60] + .5
    wanted = ((y - 20) / 20) ** 2 + ((x - 30) / 30) ** 2 <= 1
    assert ((ellipse == 1) == wanted).all() and set(np.unique(ellipse)) == {1, 2}
    sample = make_sample(np.zeros((30, 40, 3), np.uint8), [[5, 5, 25, 25]], [1])
    inner = objects(BoxInstances(rule='inner', classes=NAMES), sample).masks[0]
    assert (inner[7:23, 7:23] == 1).all() and (inner == 1).sum() == 16 ** 2 and (inner == 2).sum() == 400 - 256


@pytest.mark.parametrize('height, width', [(1, 1), (1, 9), (2, 2), (3, 1)])
@pytest.mark.parametrize('shape', ['box', 'ellipse'])
def test_the_smallest_boxes_have_a_middle(height, width, shape):
    found = inner_mask(height, width, shape, share=.05)
    assert (found == 1).any() and (found == found[::-1, ::-1]).all()


@pytest.mark.parametrize('settings', [dict(rule='outer'), dict(shape='disc'), dict(share=0), dict(share=1.2)])
def test_settings_that_do_not_exist(settings):
    with pytest.raises(ConfigError, match='BoxInstances ' + next(iter(settings))):
        BoxInstances(classes=NAMES, **settings)


@pytest.mark.parametrize('generator', [GrabCutInstances(classes=NAMES), BoxCRFInstances(classes=NAMES)])
def test_pixels_find_the_object(disc, generator):
    image, mask = disc
    found = objects(generator, make_sample(image, [[24, 14, 57, 47]], [2]))
    assert iou(found.masks[0] == 1, mask) > .9 and list(found.statuses) == ['ok']


@pytest.mark.parametrize('make', [GrabCutInstances, BoxCRFInstances, BoxInstances])
def test_objects_alone_are_as_together(disc, make):
    boxes = [[24, 14, 57, 47], [2, 3, 30, 22], [50, 30, 78, 58]]
    generator = make(classes=NAMES)
    together = objects(generator, make_sample(disc[0], boxes, [1, 2, 1])).masks
    for i, box in enumerate(boxes):
        alone = objects(generator, make_sample(disc[0], [box], [1])).masks[0]
        assert (alone == together[i]).mean() > .999   # the CRF's sums may be rounded otherwise


def test_grabcut_learns_the_background_from_the_margin_alone(disc):
    image, box = disc[0], np.array([24, 14, 57, 47])
    far = image.copy()
    far[:, :10], far[:, 70:] = [250, 190, 40], [0, 0, 255]   # beyond the margin of 10 %
    found, problem = cut_object(image, box, 'a', context=.1)
    assert not problem and (found == cut_object(far, box, 'a', context=.1)[0]).all()


@pytest.mark.parametrize('box', [[0, 0, 80, 60], [3, 3, 5, 5], [2, 2, 14, 14]])
def test_grabcut_fills_the_box_where_it_finds_nothing(disc, box):
    image = np.full_like(disc[0], 90)
    found = objects(GrabCutInstances(classes=NAMES), make_sample(image, [box], [1]))
    wanted = objects(BoxInstances(classes=NAMES), make_sample(image, [box], [1]))
    assert (found.masks == wanted.masks).all() and list(found.statuses) == ['box']


def test_a_box_that_the_crf_empties_has_its_inner_part():
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    found = objects(BoxCRFInstances(classes=NAMES, crf=dict(
        type='wsss_mm.DenseCRF', bilateral_weight=0, bilateral_xy=1, bilateral_rgb=1, gaussian_weight=400,
        gaussian_xy=30)), make_sample(image, [[18, 18, 24, 28]], [1]))
    assert list(found.statuses) == ['box_inner']
    assert (found.masks[0, 18:28, 18:24] > 0).all() and (found.masks[0] == 1).sum() == 6 * 4


def test_the_best_proposal(disc, proposals):
    image, mask = disc
    leaving = np.zeros_like(mask)
    leaving[10:50, 20:66] = True           # the highest IoU, but not inside
    small = np.zeros_like(mask)
    small[28:32, 38:42] = True
    proposals.masks = np.stack([small, leaving, mask, mask[:, ::-1]])
    sample = make_sample(image, [[20, 10, 60, 50], [0, 0, 8, 8]], [1, 2])
    generator = BestProposalInstances(proposals=dict(type='given'), classes=NAMES)
    found = objects(generator, sample)
    assert (found.masks[0].astype(bool) == mask).all() and list(found.statuses) == ['ok', 'box']
    assert found.masks[1].sum() == 64 and found.masks[1, :8, :8].all()
    assert generator.fingerprint() == {'best of source': 'given'}


def test_best_proposals_against_masks_one_by_one():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:20, :24]
    corners = rng.integers(0, 16, (30, 2))
    masks = np.stack([(y >= a) & (y < a + s) & (x >= b) & (x < b + s) for (a, b), s in
                      zip(corners, rng.integers(1, 8, 30), strict=True)])
    boxes = np.stack([(y >= a) & (y < a + 10) & (x >= b) & (x < b + 12) for a, b in [(0, 0), (5, 5), (9, 11), (0, 12)]])
    found = best_proposals(boxes, Proposals.from_masks(masks))
    for box, best in zip(boxes, found, strict=True):
        scores = [iou(box, m) if 100 * (box & m).sum() > 95 * m.sum() else 0 for m in masks]
        assert best == (int(np.argmax(scores)) if max(scores) > 0 else -1)
    nothing = Proposals(np.zeros((20, 24), int), np.zeros(1, int), np.zeros(0, int))
    assert best_proposals(boxes, nothing).tolist() == [-1] * 4


@pytest.mark.parametrize('make', [GrabCutInstances, BoxCRFInstances, BoxInstances])
def test_files_of_an_image(disc, make):
    image, mask = disc
    generator = make(classes=NAMES)
    result = generator.label(make_sample(image, [[24, 14, 57, 47]], [2]), {}, {})
    content = json.loads(result.files['instances/a.json'])
    (instance, ) = content['instances']
    assert instance['category_id'] == 2 and iou(decode_mask(instance['segmentation'], 60, 80), mask) > .6
    assert set(np.unique(result.labels['labels'])) == {0, 2}
    empty = generator.label(make_sample(image, [], []), {}, {})
    assert not empty.labels['labels'].any() and json.loads(empty.files['instances/a.json'])['instances'] == []
