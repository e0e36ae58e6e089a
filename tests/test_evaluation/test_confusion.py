"""Scores against hand-computed values and against mmseg's own metric."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from wsss_mm.evaluation import ConfusionMatrix


def random_pair(rng, num_classes, shape=(23, 31), ignored=0.):
    truth = rng.integers(0, num_classes, shape).astype(np.uint8)
    prediction = np.where(rng.random(shape) < .6, truth, rng.integers(0, num_classes, shape)).astype(np.uint8)
    truth[rng.random(shape) < .1] = 255
    prediction[rng.random(shape) < ignored] = 255
    return prediction, truth


def test_hand_computed():
    truth = np.array([[0, 0, 1, 1], [2, 2, 255, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1], [0, 2, 1, 0]], np.uint8)
    matrix = ConfusionMatrix(4).update(prediction, truth)
    assert matrix.counts[:, :-1].tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(matrix.iou(), [1 / 3, 2 / 3, 1 / 2, np.nan])
    np.testing.assert_array_equal(matrix.precision(), [1 / 2, 2 / 3, 1, np.nan])
    np.testing.assert_array_equal(matrix.recall(), [1 / 2, 1, 1 / 2, np.nan])
    assert matrix.miou() == pytest.approx(.5)   # the class in neither is left out
    assert matrix.pixel_accuracy() == pytest.approx(4 / 6)
    assert matrix.ignored_share == 0


def test_a_class_that_is_only_predicted_counts_as_zero():
    matrix = ConfusionMatrix(3).update(np.array([0, 0, 2], np.uint8), np.array([0, 0, 0], np.uint8))
    np.testing.assert_array_equal(matrix.iou(), [2 / 3, np.nan, 0])
    assert matrix.miou() == pytest.approx(1 / 3)


def test_ignored_predictions():
    truth, prediction = np.array([0, 0, 1, 1, 255]), np.array([0, 255, 1, 255, 255])
    matrix = ConfusionMatrix(2).update(prediction, truth)
    assert matrix.miou() == 1 and matrix.ignored_share == .5 and matrix.pixel_accuracy() == 1
    assert matrix.miou(ignored_as_missed=True) == .5


@pytest.mark.parametrize('ignored', [0., .3])
def test_equals_mmseg(ignored):
    rng = np.random.default_rng(1)
    num_classes, matrix, areas = 9, ConfusionMatrix(9), []
    for _ in range(5):
        prediction, truth = random_pair(rng, 7, ignored=ignored)   # two classes occur nowhere
        matrix.update(prediction, truth)
        areas.append(IoUMetric.intersect_and_union(torch.from_numpy(prediction), torch.from_numpy(truth),
                                                   num_classes, 255))
    expected = IoUMetric.total_area_to_metrics(*map(sum, zip(*areas, strict=True)), ['mIoU', 'mFscore'])
    np.testing.assert_allclose(matrix.iou(ignored_as_missed=True), expected['IoU'], atol=1e-6)
    if not ignored:
        np.testing.assert_allclose(matrix.iou(), expected['IoU'], atol=1e-6)
        np.testing.assert_allclose(matrix.precision(), expected['Precision'], atol=1e-6)
        np.testing.assert_allclose(matrix.recall(), expected['Recall'], atol=1e-6)
        assert matrix.pixel_accuracy() == pytest.approx(float(expected['aAcc']), abs=1e-6)


def test_merged_shards_equal_the_whole():
    rng = np.random.default_rng(2)
    pairs = [random_pair(rng, 5, ignored=.1) for _ in range(7)]
    whole = ConfusionMatrix(5)
    shards = [ConfusionMatrix(5) for _ in range(3)]
    for i, pair in enumerate(pairs):
        whole.update(*pair)
        shards[i % 3].update(*pair)
    merged = ConfusionMatrix(5)
    for shard in reversed(shards):
        merged.merge(shard)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    with pytest.raises(ValueError, match='cannot merge'):
        merged.merge(ConfusionMatrix(6))


def test_nothing_counted_is_nan_without_warning(recwarn):
    matrix = ConfusionMatrix(3).update(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    assert np.isnan([matrix.miou(), matrix.pixel_accuracy(), matrix.ignored_share]).all()
    assert not recwarn.list


@pytest.mark.parametrize('prediction, truth, message', [
    (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 'differ in shape'),
    (np.full(4, 7, np.uint8), np.zeros(4, np.uint8), r'prediction holds the ids \[7\]'),
    (np.zeros(4, np.uint8), np.full(4, 3, np.uint8), r'truth holds the ids \[3\]'),
    (np.full(4, -1), np.zeros(4, np.uint8), 'from -1'),
    (np.full(4, 256 + 1), np.zeros(4, np.uint8), 'to 257'),
    (np.zeros(4), np.zeros(4, np.uint8), 'float64'),
])
def test_refuses(prediction, truth, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(3).update(prediction, truth)


def test_refuses_class_counts_that_ids_cannot_hold():
    for count in (0, 256):
        with pytest.raises(ValueError, match='num_classes'):
            ConfusionMatrix(count)
