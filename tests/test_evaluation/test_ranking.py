"""AUC against the definition over all pairs."""

import numpy as np
import pytest
from PIL import Image

from wsss_mm.evaluation import MapAUC, auc, evaluate_maps
from wsss_mm.structures import ClassMaps

XML = """<annotation><size><width>{w}</width><height>{h}</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
</object>"""


def brute_force(scores, positive):
    above, below = scores[positive][:, None], scores[~positive][None]
    return ((above > below) + .5 * (above == below)).mean()


@pytest.mark.parametrize('levels', [2, 7, 10_000])
def test_equals_all_pairs(levels):
    rng = np.random.default_rng(levels)
    positive = rng.random(300) < .3
    scores = rng.integers(0, levels, 300) / levels + .1 * positive
    assert auc(scores, positive) == pytest.approx(brute_force(scores, positive), abs=1e-12)


def test_hand_computed_and_degenerate():
    assert auc(np.array([.1, .4, .35, .8]), np.array([False, False, True, True])) == .75
    assert auc(np.zeros(5), np.array([True, False, True, False, False])) == .5
    assert np.isnan(auc(np.arange(3), np.ones(3, bool)))
    with pytest.raises(ValueError, match='NaN'):
        auc(np.array([np.nan, 1.]), np.array([True, False]))


def test_any_increasing_function_of_the_scores_gives_the_same():
    rng = np.random.default_rng(0)
    scores, positive = rng.random(500), rng.random(500) < .5
    assert auc(np.exp(3 * scores), positive) == auc(scores, positive)
    assert auc(-scores, positive) == pytest.approx(1 - auc(scores, positive), abs=1e-12)


def test_pooled_over_images_equals_one_array():
    rng = np.random.default_rng(3)
    scores = rng.random((6, 40)).astype(np.float16)
    scores[0, :9], scores[1, :9] = 0, -0.
    positive = rng.random((6, 40)) < .4
    pooled = MapAUC()
    for row in range(6):
        pooled.update(scores[row], positive[row])
    assert pooled.value() == pytest.approx(auc(scores, positive), abs=1e-12)
    with pytest.raises(ValueError, match='negative'):
        pooled.update(np.array([-.5]), np.array([True]))


def test_maps_are_ranked_inside_boxes_only(tmp_path):
    truth = np.zeros((8, 10), np.uint8)
    truth[2:5, 2:6], truth[5, 2:6] = 2, 255
    own = np.zeros((8, 10), np.float32)
    own[2:5, 2:6], own[1, 2:6] = .5, .75   # one row of background ranks above the object
    own[0], own[5] = 1., 1.                # outside the box; ignored in the truth: neither may count
    maps = ClassMaps('a', np.array([2]), own[None], 8, 10, background=(truth == 0).astype(np.float32))
    (tmp_path / 'a.npz').write_bytes(maps.to_bytes())
    Image.fromarray(truth).save(tmp_path / 'a.png')
    (tmp_path / 'a.xml').write_text(XML.format(w=10, h=8, objects=OBJECT.format(2, 2, 7, 7, name='dog')))
    found = evaluate_maps(tmp_path, tmp_path, tmp_path, ['a', 'not saved'], ('background', 'cat', 'dog'))
    inside = np.zeros_like(truth, bool)
    inside[1:7, 1:7] = True                # 2..7 counted from 1, both ends included
    inside &= truth != 255
    assert found['class_maps'] == pytest.approx(100 * brute_force(own[inside], truth[inside] == 2))
    assert 0 < found['class_maps'] < 100 and found['background'] == 100 and found['images'] == 1


def test_smaller_maps_are_enlarged(tmp_path):
    truth = np.zeros((16, 16), np.uint8)
    truth[:, 8:] = 1
    maps = ClassMaps('a', np.array([1]), np.array([[[0., 1.]]], np.float32), 16, 16)
    (tmp_path / 'a.npz').write_bytes(maps.to_bytes())
    Image.fromarray(truth).save(tmp_path / 'a.png')
    (tmp_path / 'a.xml').write_text(XML.format(w=16, h=16, objects=OBJECT.format(1, 1, 16, 16, name='cat')))
    found = evaluate_maps(tmp_path, tmp_path, tmp_path, ['a'], ('background', 'cat'))
    assert found['class_maps'] == 100 and found['background'] is None
