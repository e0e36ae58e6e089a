"""A threshold without ground truth: where the valley is, and that it does not depend on how the scores are scaled."""

import numpy as np
import pytest
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels.auto_threshold import METHODS, choose_threshold, colour_threshold, score_histogram
from wsss_mm.structures import ClassMaps

EDGES = np.linspace(0, 1, 257)


def two_hills(low, high, share, width=.05, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.r_[rng.normal(low, width, int(9e4 * (1 - share))), rng.normal(high, width, int(9e4 * share))]
    return np.histogram(scores, EDGES)[0]


@pytest.mark.parametrize('low, high, share', [(.2, .7, .5), (.15, .6, .3), (.3, .8, .2)])
def test_two_hills_are_parted_in_the_valley(low, high, share):
    assert low + .1 < choose_threshold(two_hills(low, high, share), EDGES, 'otsu') < high - .1


def brute_force(counts, centre):
    """The criterion at every edge from both sides' pixels."""
    values = []
    for k in range(1, len(counts)):
        sides = [(counts[part].sum(), (counts * centre)[part].sum()) for part in (slice(k), slice(k, None))]
        values.append(sum(s ** 2 / n for n, s in sides) if min(n for n, _ in sides) else -np.inf)
    return np.array(values)


@pytest.mark.parametrize('seed', range(5))
def test_otsu_equals_its_criterion_computed_edge_by_edge(seed):
    rng = np.random.default_rng(seed)
    counts, edges = rng.integers(0, 50, 20) * rng.integers(0, 2, 20), np.linspace(0, 1, 21)
    values = brute_force(counts.astype(float), (edges[1:] + edges[:-1]) / 2)
    best = edges[1:-1][values > values.max() - 1e-9 * abs(values.max())]
    assert choose_threshold(counts, edges, 'otsu') == pytest.approx(best.mean())


def test_mean_is_the_mean_and_scale_of_the_counts_does_not_matter():
    counts = np.array([4, 0, 2, 0, 2])
    assert choose_threshold(counts, np.linspace(0, 1, 6), 'mean') == pytest.approx((4 * .1 + 2 * .5 + 2 * .9) / 8)
    hills = two_hills(.2, .6, .3)
    for method in METHODS:
        assert choose_threshold(7 * hills, EDGES, method) == pytest.approx(choose_threshold(hills, EDGES, method))


def test_the_middle_of_an_empty_valley():
    counts = np.zeros(10)
    counts[[1, 8]] = 5
    assert choose_threshold(counts, np.linspace(0, 1, 11), 'otsu') == pytest.approx(.5)


def test_nothing_to_choose():
    with pytest.raises(ConfigError, match='kapur'):
        choose_threshold(two_hills(.2, .6, .3), EDGES, 'kapur')
    with pytest.raises(ConfigError, match='one bin'):
        choose_threshold(np.eye(256)[3], EDGES)


# ---------------------------------------------------------------- folders

@pytest.fixture
def folders(tmp_path):
    """Red discs on green ground; the score falls off from the centre and is .36 at the disc's edge."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]

    def write(bend=lambda s: s, ids=('a', 'b', 'c'), size=None):
        for i, image_id in enumerate(ids):
            away = np.hypot(y - 20 - i, x - 30 + i) / 12
            image = np.where((away < 1)[..., None], (180, 60, 50), (60, 160, 70)) + rng.normal(0, 20, (48, 64, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / f'{image_id}.png')
            maps = bend(np.exp(-away ** 2 * 1.02))[None]
            maps = ClassMaps(image_id, np.array([2]), maps, *(size or (48, 64)))
            (tmp_path / f'{image_id}.npz').write_bytes(maps.to_bytes())
        return tmp_path
    return write


def test_histogram_counts_the_best_class_of_every_pixel(folders):
    root = folders()
    two = np.stack([np.full((4, 5), .2), np.full((4, 5), .6)])
    two[0, 0], two[1, 1] = 1, 0
    (root / 'd.npz').write_bytes(ClassMaps('d', np.array([1, 3]), two, 4, 5).to_bytes())
    (root / 'e.npz').write_bytes(ClassMaps('e', np.zeros(0, int), np.zeros((0, 2, 2)), 4, 5).to_bytes())
    counts, edges = score_histogram(root, ['d', 'e', 'not saved'], bins=10)
    assert counts.tolist() == [0, 5, 0, 0, 0, 0, 10, 0, 0, 5]   # float16 takes .2 down and .6 up
    np.testing.assert_allclose(edges, np.arange(11) / 10)
    with pytest.raises(DataError, match='no class maps'):
        score_histogram(root, ['e', 'not saved'])


def test_smaller_maps_are_enlarged_before_they_are_counted(tmp_path):
    (tmp_path / 'a.npz').write_bytes(ClassMaps('a', np.array([1]), np.array([[[0., 1.]]]), 1, 8).to_bytes())
    counts, _ = score_histogram(tmp_path, ['a'], bins=4)
    # positions (i + .5) / 4 - .5: 0, 0, .125, .375, .625, .875, 1, 1
    assert counts.tolist() == [3, 1, 1, 3]


def test_colours_find_the_edge_whatever_increasing_function_the_scores_go_through(folders):
    true = np.exp(-1.02)
    for bend in (lambda s: s, np.sqrt, np.square):
        root = folders(bend)
        assert colour_threshold(root, root, ['a', 'b', 'c']) == pytest.approx(bend(true), abs=.03)


def test_colours_equal_the_variance_computed_threshold_by_threshold(folders):
    root, bins = folders(), 32
    values = np.zeros(bins - 1)
    for image_id in 'abc':
        colours = np.asarray(Image.open(root / f'{image_id}.png')).reshape(-1, 3).astype(float)
        scores = ClassMaps.load(root / f'{image_id}.npz').maps[0].ravel()
        for k in range(bins - 1):
            sides = [colours[scores >= (k + 1) / bins], colours[scores < (k + 1) / bins]]
            between = sum(len(s) * ((s.mean(0) - colours.mean(0)) ** 2).sum() for s in sides if len(s))
            values[k] += between / ((colours - colours.mean(0)) ** 2).sum()
    assert colour_threshold(root, root, ['a', 'b', 'c'], bins) == (values.argmax() + 1) / bins


def test_colours_say_what_is_wrong(folders):
    root = folders()
    with pytest.raises(DataError, match='no class maps'):
        colour_threshold(root, root, ['z'])
    with pytest.raises(DataError, match=r'a.jpg: no such image'):
        colour_threshold(root, root / 'elsewhere', ['a'])
    Image.new('RGB', (64, 48), 'grey').save(root / 'b.png')
    with pytest.raises(ConfigError, match='no threshold parts'):
        colour_threshold(root, root, ['b'])
    folders(ids=('c',), size=(96, 128))
    with pytest.raises(DataError, match='c.png: is 48 x 64'):
        colour_threshold(root, root, ['c'])
