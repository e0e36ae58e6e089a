"""Box and GrabCut labels."""

import numpy as np
import pytest

from wsss_mm.pseudo_labels.baselines import BoxFillLabels, GrabCutLabels
from wsss_mm.structures import ImageSample


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


def test_box_fill_puts_small_boxes_on_top_in_any_order():
    image, boxes, ids = np.zeros((5, 6, 3), np.uint8), [[1, 1, 3, 3], [0, 0, 5, 4], [2, 2, 4, 4]], [1, 2, 3]
    wanted = [[2, 2, 2, 2, 2, 0], [2, 1, 1, 2, 2, 0], [2, 1, 1, 3, 2, 0], [2, 2, 3, 3, 2, 0], [0] * 6]
    result = BoxFillLabels().label(make_sample(image, boxes, ids), {}, {})
    assert result.labels['labels'].tolist() == wanted and result.labels['labels'].dtype == np.uint8
    moved = BoxFillLabels().label(make_sample(image, boxes[1:] + boxes[:1], ids[1:] + ids[:1]), {}, {})
    ours, theirs = result.labels['labels'], moved.labels['labels']
    assert (ours != theirs).sum() == 1   # only where two boxes of one size meet the order counts


@pytest.mark.parametrize('generator', [BoxFillLabels(), GrabCutLabels()])
def test_no_boxes_and_no_model(generator):
    result = generator.label(make_sample(np.zeros((7, 9, 3), np.uint8), [], []), {}, {})
    assert result.labels['labels'].shape == (7, 9) and not result.labels['labels'].any() and result.notes == []
    assert not generator.needs_model and generator.outputs == ('labels',)


def test_grabcut_cuts_the_object_out(disc):
    image, mask = disc
    result = GrabCutLabels().label(make_sample(image, [[20, 10, 60, 50]], [5]), {}, {})
    found = result.labels['labels'] == 5
    assert (found & mask).sum() / (found | mask).sum() > .95 and result.notes == []


def test_grabcut_does_not_depend_on_what_was_cut_before(disc):
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    boxes, ids = [[20, 10, 60, 50], [2, 2, 18, 30]], [5, 6]
    generator, one = GrabCutLabels(), make_sample(noise, boxes, ids)
    first = generator.label(one, {}, {}).labels['labels']
    generator.label(make_sample(disc[0], boxes, ids), {}, {})
    assert (generator.label(one, {}, {}).labels['labels'] == first).all()
    alone = generator.label(make_sample(noise, boxes[1:], ids[1:]), {}, {}).labels['labels']
    assert ((alone == 6) == (first == 6)).all()


@pytest.mark.parametrize('box, why', [
    ([0, 0, 80, 60], 'too few pixels'),       # nothing outside to learn the background from
    ([3, 3, 5, 5], 'too few pixels'),         # four pixels
    ([2, 2, 14, 14], 'GrabCut found'),        # a flat image: nothing stands out
])
def test_grabcut_falls_back_to_the_filled_box(disc, box, why):
    image = np.full_like(disc[0], 90) if why == 'GrabCut found' else disc[0]
    result = GrabCutLabels().label(make_sample(image, [box], [5]), {}, {})
    x1, y1, x2, y2 = box
    wanted = np.zeros(image.shape[:2], np.uint8)
    wanted[y1:y2, x1:x2] = 5
    assert (result.labels['labels'] == wanted).all()
    assert len(result.notes) == 1 and why in result.notes[0]
