"""Label maps of an image's instances: classes, what is ignored, which object is drawn over which, crowds."""

import numpy as np
import pytest

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels import semantic_labels
from wsss_mm.run_lengths import encode_masks

I = 255  # noqa: E741  ignored


def row(*values):
    return np.array([values], np.uint8)


@pytest.mark.parametrize('mode, expected', [('official', (1, 1, I, I, 2, I)), ('paper', (1, 1, I, 2, 2, I)),
                                            ('ignore_not_over_fg', (1, 1, I, 2, 2, I))])
def test_two_classes_and_what_is_ignored(mode, expected):
    """Two objects of class 1, one of class 2, whose boxes overlap in part."""
    masks = np.stack([row(1, 1, 1, 2, 0, 0), row(0, 1, 0, 0, 0, 0), row(0, 0, 1, 1, 1, 2)])
    boxes = np.array([[0, 0, 4, 1], [0, 0, 4, 1], [1, 0, 6, 1]], np.float32)
    assert semantic_labels(masks, boxes, np.array([1, 1, 2]), mode=mode)[0].tolist() == list(expected)


@pytest.mark.parametrize('mode, expected', [('official', (1, 3, 2, 2, 1, 0)), ('paper', (1, I, I, I, 1, 0)),
                                            ('ignore_not_over_fg', (1, 3, 2, 2, 1, 0))])
def test_a_box_within_another_is_drawn_over_it(mode, expected):
    """The smallest last: 3 within 2 within 1."""
    masks = np.stack([row(0, 1, 0, 0, 0, 0), row(1, 1, 1, 1, 1, 0), row(0, 1, 1, 1, 0, 0)])
    boxes = np.array([[1, 0, 2, 1], [0, 0, 6, 1], [1, 0, 4, 1]], np.float32)
    assert semantic_labels(masks, boxes, np.array([3, 1, 2]), mode=mode)[0].tolist() == list(expected)


def test_equal_boxes_are_not_within_each_other():
    masks, boxes = np.stack([row(1, 1, 0), row(0, 1, 1)]), np.array([[0, 0, 3, 1]] * 2, np.float32)
    assert semantic_labels(masks, boxes, np.array([1, 2]))[0].tolist() == [1, I, 2]


@pytest.mark.parametrize('seed', range(4))
def test_label_maps_are_those_of_the_published_loops(seed):
    """One plane per class, then box after box."""
    rng = np.random.default_rng(seed)
    masks = rng.choice(3, (7, 9, 11), p=(.6, .35, .05)).astype(np.uint8)
    low = rng.integers(0, 5, (7, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 6, (7, 2))], 1).astype(np.float32)
    labels = rng.integers(1, 4, 7)
    planes = np.zeros((4, 9, 11), bool)
    for mask, label in zip(masks, labels, strict=True):
        planes[label] |= mask == 1
    expected = np.where(planes.sum(0) > 1, I, planes.argmax(0))
    for i in np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(1), kind='stable'):
        if any((boxes[i][:2] >= b[:2]).all() and (boxes[i][2:] <= b[2:]).all() and (boxes[i] != b).any()
               for b in boxes):
            expected[masks[i] == 1] = labels[i]
    for mask in masks:
        expected[mask == 2] = I
    assert np.array_equal(semantic_labels(masks, boxes, labels), expected)


@pytest.mark.parametrize('mode, expected', [('official', (I, I, 0, 0)), ('paper', (1, I, 0, 0))])
def test_crowds_are_ignored(mode, expected):
    masks, boxes = row(1, 0, 0, 0)[None], np.array([[0, 0, 1, 1]], np.float32)
    mask = np.array([[True, True, False, False]])
    for crowd in (dict(bbox=[0, 0, 2, 1]), dict(bbox=[0, 0, 4, 1], segmentation=encode_masks(mask[None])[0])):
        assert semantic_labels(masks, boxes, np.array([1]), [crowd], mode)[0].tolist() == list(expected)
        assert semantic_labels(masks[:0], boxes[:0], np.zeros(0, int), [crowd])[0].tolist() == [I, I, 0, 0]
    with pytest.raises(DataError, match='size'):
        semantic_labels(masks[..., :3], boxes, np.array([1]), [crowd])


def test_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="mode='best'"):
        semantic_labels(row(1)[None], np.zeros((1, 4)), np.array([1]), mode='best')
