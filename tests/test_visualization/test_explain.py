"""Sheets of explained objects."""

import numpy as np
import pytest

from wsss_mm.datasets.toy_voc import voc_palette
from wsss_mm.explainers import object_maps
from wsss_mm.structures import ObjectMasks
from wsss_mm.visualization import explain, overlay

NAMES = ('cat', 'dog')
BOXES = np.array([[10, 20, 50, 40], [0, 0, 100, 60]], np.float32)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(100, 140, (60, 100, 3)).astype(np.uint8)


@pytest.fixture
def maps():
    left = np.zeros((6, 10), np.float32)
    left[:, :3] = 1
    return object_maps('a', (60, 100), (60, 100), BOXES, np.array([0, 1]), np.array([4, 9]), grids=[left, left * 0],
                       statuses=['ok', 'no_positive'], positives=np.array([63, 0]), iterations=np.array([300, 0]))


@pytest.fixture
def masks():
    planes = np.zeros((2, 60, 100), np.uint8)
    planes[0, 20:40, 10:30], planes[0, 20:40, 30:50] = 1, 2
    return ObjectMasks(planes, np.array([4, 9]), BOXES, np.array([1, 2]), ['ok', 'box_prior'])


def test_captions(maps):
    assert explain.object_caption(maps, 0, NAMES) == '4  cat, ok, 300 steps, 63 proposals'
    with_score = explain.object_caption(maps, 1, NAMES, np.array([.5, .876]))
    assert with_score == '9  dog, score 0.88, no_positive, 0 proposals'


def test_windows_stay_in_the_image():
    assert explain.close_up_window(BOXES[0], 60, 100) == (slice(10, 50), slice(0, 70))
    assert explain.close_up_window(BOXES[1], 60, 100) == (slice(0, 60), slice(0, 100))


def test_a_map_is_drawn_where_it_is(image, maps):
    shown = explain.picture_of_map(image, maps, 0)          # 70 x 40 pixels on 300 x 171
    assert shown.shape == (171, 300, 3)
    left, right = shown[80, 20].astype(int), shown[80, 280].astype(int)
    grey = overlay.greyed(image).mean((0, 1))
    assert np.abs(left - (.7 * np.array(overlay.HEAT_COLOURS[-1]) + .3 * grey)).max() < 12
    assert np.abs(right - (.7 * np.array(overlay.HEAT_COLOURS[0]) + .3 * grey)).max() < 12
    edge = round(10 * 300 / 70)                             # the box's left side
    assert (shown[60:120, edge] == 255).all() and not (shown[60:120, edge + 3] == 255).all()


def test_a_mask_is_drawn_where_it_is(image, masks):
    shown = explain.picture_of_mask(image, masks, 0, voc_palette())
    x = [round(v * 300 / 70) for v in (20, 40, 60)]
    red, cream, nothing = (shown[86, v].astype(int) for v in x)
    assert red[0] > red[1] + 50 and cream.min() > 160 and np.ptp(nothing) < 20


def test_the_sheet_has_a_row_for_each_object(image, maps, masks):
    sheet = explain.object_sheet(image, maps, NAMES, voc_palette(), masks, np.array([.9, .8]), 'a.jpg')
    rows = 2 * 24 + sum(24 + h + 8 for h in (180, 180))     # the image's height of 300 x 180 is the largest in each
    assert sheet.shape == (rows, 8 + 3 * 308, 3)
    alone = explain.object_sheet(image, maps, NAMES, voc_palette())
    assert alone.shape == (rows - 24, 8 + 2 * 308, 3)
    nothing = object_maps('a', (60, 100), (60, 100), BOXES[:0], np.zeros(0), np.zeros(0), grids=[], statuses=[])
    assert explain.object_sheet(image, nothing, NAMES, voc_palette()).shape == (48, 8 + 2 * 308, 3)
