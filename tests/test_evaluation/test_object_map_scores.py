import json

import numpy as np
import pytest

from wsss_mm.errors import DataError
from wsss_mm.evaluation.object_map_scores import relative_radius, score_object_maps
from wsss_mm.run_lengths import run_lengths
from wsss_mm.structures import ObjectMaps


def test_relative_radius_of_a_square():
    mask = np.zeros((11, 11), bool)
    mask[2:9, 2:9] = True   # contour 3 pixels from the middle at (5, 5)
    found = relative_radius(mask)
    assert found[5, 5] == 0
    assert found[5, 2] == found[2, 2] == 1
    assert found[5, 4] == pytest.approx(1 / 3)
    assert found[5, 0] == pytest.approx(5 / 7)
    one = np.zeros((3, 3), bool)
    one[1, 1] = True
    assert relative_radius(one)[1, 1] == 1   # the contour is the middle


def make(tmp_path, grid: np.ndarray, box, mask: np.ndarray, number: int = 4):
    size = mask.shape
    x1, y1, x2, y2 = box
    one = dict(strides=[1.], positives=[1], iou_used=[.9], iterations=[3], loss_box=[0.], loss_cls=[0.])
    maps = ObjectMaps('a', *size, size, np.array([number]), np.array([box], np.float32), np.array([1]), [grid], ['ok'],
                      **{k: np.array(v) for k, v in one.items()})
    (tmp_path / 'a.npz').write_bytes(maps.to_bytes())
    truth = tmp_path / 'truth.json'
    truth.write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.jpg', height=size[0], width=size[1])], categories=[dict(id=1, name='cat')],
        annotations=[dict(id=4, image_id=1, category_id=1, bbox=[x1, y1, x2 - x1, y2 - y1], iscrowd=0,
                          area=int(mask.sum()), segmentation=run_lengths(mask))])))
    return truth


def test_ious_at_all_thresholds_equal_one_by_one(tmp_path):
    rng = np.random.default_rng(0)
    grid = rng.random((12, 14)).astype(np.float32)   # of the image's size: enlarging keeps it
    mask = np.zeros((12, 14), bool)
    mask[3:9, 4:10] = True
    scores = score_object_maps(tmp_path, make(tmp_path, grid, (3, 2, 12, 10), mask))
    inside = np.zeros_like(mask)
    inside[2:10, 3:12] = True
    for threshold, iou in zip(scores.thresholds, scores.ious[0], strict=True):
        said = inside & (grid / grid[inside].max() >= threshold)
        assert iou == pytest.approx((said & mask).sum() / (said | mask).sum())
    assert scores.on_object[0] == pytest.approx(mask[grid > .9].mean())
    assert scores.in_box[0] == pytest.approx(inside[grid > .9].mean())
    assert scores.radii[0] == pytest.approx(relative_radius(mask)[grid > .9].mean())
    assert scores.statuses.tolist() == ['ok']
    assert scores.best() == scores.ious[0].argmax()


def test_an_empty_map_covers_nothing(tmp_path):
    mask = np.ones((4, 4), bool)
    scores = score_object_maps(tmp_path, make(tmp_path, np.zeros((2, 2), np.float32), (0, 0, 4, 4), mask))
    assert not scores.ious.any() and np.isnan(scores.radii[0])


def test_maps_of_other_objects_are_refused(tmp_path):
    truth = make(tmp_path, np.ones((2, 2), np.float32), (0, 0, 4, 4), np.ones((4, 4), bool), number=5)
    with pytest.raises(DataError, match='no object of the truth has a map'):
        score_object_maps(tmp_path, truth)
