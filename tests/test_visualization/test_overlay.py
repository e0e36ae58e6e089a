"""What the pictures show, pixel by pixel."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from wsss_mm.visualization import overlay

PALETTE = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def test_overlay_leaves_background_colourless_and_mixes_class_colours(image):
    label = np.zeros((24, 32), np.uint8)
    label[:, 16:] = 2
    shown = overlay.overlay_labels(image, label, PALETTE, opacity=.6)
    grey = overlay.greyed(image)
    np.testing.assert_array_equal(shown[:, :15], grey[:, :15])
    expected = .4 * grey[:, 16:].astype(float) + .6 * PALETTE[2]
    assert np.abs(shown[:, 16:] - expected).max() <= .5
    assert (shown[:, 15] == 255).all()   # the contour


def test_ignored_pixels_are_cream_and_sizes_must_fit(image):
    shown = overlay.overlay_labels(image, np.full((24, 32), 255, np.uint8), PALETTE, opacity=1.)
    assert (shown == overlay.IGNORED_COLOUR).all()
    with pytest.raises(ValueError, match='differ in size'):
        overlay.overlay_labels(image, np.zeros((32, 24), np.uint8), PALETTE)


@pytest.mark.parametrize('ground', [0, 128, 255])
def test_unreliable_pixels_are_all_changed_and_no_others(ground):
    picture = np.full((40, 60, 3), ground, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:45] = True
    marked = overlay.mark_unreliable(picture, mask)
    change = np.abs(marked.astype(int) - picture).max(-1)
    assert change[mask].min() >= 50 and not change[~mask].any()
    colours = np.unique(marked[mask], axis=0)
    assert len(colours) == 2 and list(overlay.UNRELIABLE_COLOUR) in colours.tolist()   # stripes, not a flat tint


def test_a_single_unreliable_pixel_shows_on_a_photograph(image):
    mask = np.zeros(image.shape[:2], bool)
    mask[7, 9] = True
    marked = overlay.mark_unreliable(image, mask)
    assert (marked != image).any(-1).sum() == 1 and (marked != image).any(-1)[7, 9]


def test_heat_map_grows_lighter_with_the_value():
    ramp = overlay.heat_map(np.linspace(0, 1, 64, dtype=np.float32)[None])[0].astype(float)
    lightness = ramp @ [.299, .587, .114]
    assert (np.diff(lightness) > 0).all()
    np.testing.assert_array_equal(ramp[[0, -1]], [overlay.HEAT_COLOURS[0], overlay.HEAT_COLOURS[-1]])
    np.testing.assert_array_equal(overlay.heat_map(np.array([[-1., 2., np.nan]]))[0],
                                  [overlay.HEAT_COLOURS[i] for i in (0, -1, 0)])


def test_boxes_are_drawn_on_their_own_border():
    picture = np.zeros((100, 100, 3), np.uint8)
    shown = overlay.draw_boxes(picture, np.array([[5., 10., 25., 40.]]), ['cat'], PALETTE[1:2], scale=(2., 2.))
    colour = shown[60, 10]
    assert colour.any() and (shown[60, 48] == colour).all()       # x 10 and 48, 49: [10, 50) scaled
    assert (shown[79, 30] == colour).all() and not shown[60, 30].any() and not shown[90].any()
    assert not picture.any()
    np.testing.assert_array_equal(overlay.draw_boxes(picture, np.zeros((0, 4)), [], np.zeros((0, 3))), picture)


def test_fit_keeps_proportions_and_label_values():
    label = np.random.default_rng(1).choice(np.array([0, 3, 255], np.uint8), (30, 45))
    big = overlay.fit(label, 90, smooth=False)
    np.testing.assert_array_equal(big, label.repeat(2, 0).repeat(2, 1))
    assert overlay.fit(np.zeros((500, 375, 3), np.uint8), 240).shape == (240, 180, 3)
    assert overlay.fit(np.zeros((1, 400), np.float32), 240).shape == (1, 240)


def test_data_uri_decodes_to_the_picture():
    picture = overlay.fit(np.random.default_rng(2).integers(0, 256, (6, 8, 3)).astype(np.uint8), 80)
    head, body = overlay.data_uri(picture).split(',')
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
    assert head == 'data:image/jpeg;base64' and decoded.shape == picture.shape
    assert np.abs(decoded.astype(int) - picture).mean() < 4
