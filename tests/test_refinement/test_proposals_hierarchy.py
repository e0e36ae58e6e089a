"""Proposals from merging regions: merges by hand, exact sets and scores, objects found, doubles dropped, no chance."""

import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from wsss_mm.errors import ConfigError, WSSSError
from wsss_mm.refinement import HierarchyProposals, hierarchy_proposals
from wsss_mm.refinement.hierarchy_proposals import outline_contrast, suppress_doubles
from wsss_mm.refinement.region_tree import merge_regions, neighbour_unions, region_graph, tree_membership

pytest.importorskip('skimage')
STRIPES = np.repeat(np.arange(4), 2)[None].repeat(3, 0)   # 3 x 8 pixels, regions 2 wide


def stripes(colours):
    values = np.array(colours, float)[STRIPES][..., None]
    return region_graph(STRIPES, values, np.abs(np.gradient(values[..., 0], axis=1)))


def test_graph_by_hand():
    graph = stripes([0, 1, 10, 12])
    assert graph.areas.tolist() == [6] * 4 and graph.colours[:, 0].tolist() == [0, 1, 10, 12]
    assert graph.pairs.tolist() == [[0, 1], [1, 2], [2, 3]] and graph.lengths.tolist() == [3] * 3
    assert graph.contrasts.tolist() == [.5, 4.5, 1]


def test_merges_by_hand():
    assert merge_regions(stripes([0, 1, 10, 12]), 1).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert merge_regions(stripes([0, 1, 2, 30]), 0).tolist() == [[0, 1], [2, 4], [3, 5]]   # of equal ones the lowest
    apart = region_graph(np.zeros((2, 2), int), np.zeros((2, 2, 3)), np.zeros((2, 2)))
    assert merge_regions(apart, .5).shape == (0, 2)


def slow_merges(graph, weight):
    """All pairs looked through for each merge, distances from the pixels' sums."""
    nodes = {i: {i} for i in range(len(graph.areas))}
    merges = []
    while len(nodes) > 1:
        def distance(a, b):
            border = [e for e, (i, j) in enumerate(graph.pairs) if {i, j} & nodes[a] and {i, j} & nodes[b]]
            if not border:
                return np.inf
            mean = [np.average(graph.colours[list(nodes[n])], axis=0, weights=graph.areas[list(nodes[n])])
                    for n in (a, b)]
            contrast = np.average(graph.contrasts[border], weights=graph.lengths[border])
            size = min(graph.areas[list(nodes[n])].sum() for n in (a, b))
            return (weight * np.linalg.norm(mean[0] - mean[1]) + (1 - weight) * contrast) * size ** .5
        _, a, b = min((distance(a, b), a, b) for a in nodes for b in nodes if a < b)
        nodes[len(graph.areas) + len(merges)] = nodes.pop(a) | nodes.pop(b)
        merges.append([a, b])
    return merges


@pytest.mark.parametrize('weight', [0, .4, 1])
def test_merges_are_those_of_a_search_among_all_pairs(weight):
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(12).reshape(3, 4), np.ones((3, 2), int))
    graph = region_graph(labels, rng.random((9, 8, 3)), rng.random((9, 8)))
    merges = merge_regions(graph, weight)
    assert merges.tolist() == slow_merges(graph, weight)
    nodes = tree_membership(12, merges).toarray()
    assert np.array_equal(nodes[:12], np.eye(12)) and nodes[-1].all()
    for m, (a, b) in enumerate(merges):
        assert np.array_equal(nodes[12 + m], nodes[a] + nodes[b])


def test_unions_are_of_neighbours_in_one_stage():
    graph = stripes([0, 1, 10, 12])
    merges = merge_regions(graph, 1)   # (0 1), (2 3), all
    assert neighbour_unions(graph, merges, 2).tolist() == [[4, 5, -1]]
    assert neighbour_unions(graph, merges, 3).tolist() == [[2, 3, -1], [2, 3, 4], [2, 4, -1], [4, 5, -1]]
    everything = neighbour_unions(graph, merges, 9).tolist()
    assert [0, 1, -1] in everything and [0, 1, 2] in everything and [0, 2, -1] not in everything


def test_outline_contrast_by_hand():
    graph = stripes([0, 1, 10, 12])
    members = csr_matrix(np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]))
    # pixels on the image's border: 2 above, 2 below and 3 at the side of the first; 8 of two inner ones
    expected = [3 * .5 / (3 + 7), 3 * (.5 + 1) / (6 + 8), 0]
    np.testing.assert_allclose(outline_contrast(members, graph, STRIPES), expected, rtol=1e-6)


def test_doubles_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    areas = rng.integers(1, 50, 40)
    base = rng.random((12, 40)) < .5
    sets = np.concatenate([base ^ (rng.random(base.shape) < .02) for _ in range(12)])[rng.permutation(144)]
    kept = suppress_doubles(csr_matrix(sets.astype(np.int64)), areas, .8, block=20)
    expected = []
    for own in sets:
        expected.append(not any(areas[own & other].sum() > .8 * areas[own | other].sum()
                                for other, stays in zip(sets, expected, strict=False) if stays))
    assert kept.tolist() == expected and 12 <= kept.sum() < 140


def picture():
    """A two-coloured object and a disc on a noisy ground; an object is no single colour."""
    rng = np.random.default_rng(0)
    image = np.full((60, 80, 3), (70, 110, 60)) + rng.normal(0, 4, (60, 80, 3))
    y, x = np.mgrid[:60, :80]
    disc = (y - 40) ** 2 + (x - 58) ** 2 < 14 ** 2
    body, head = (abs(y - 30) < 12) & (abs(x - 20) < 9), (abs(y - 12) < 7) & (abs(x - 20) < 9)
    for mask, colour in ((disc, (200, 60, 50)), (body, (60, 70, 190)), (head, (220, 200, 60))):
        image[mask] += np.array(colour) - (70, 110, 60)
    return image.clip(0, 255).astype(np.uint8), np.stack([disc, body | head])


@pytest.mark.parametrize('partition', ['felzenszwalb', 'slic', 'ucm'])
def test_objects_are_among_the_proposals(partition):
    if partition == 'ucm':
        pytest.importorskip('higra')
    image, objects = picture()
    make = HierarchyProposals(partition, segments=150, max_proposals=300)
    found = make('a', image)
    assert found.iou(objects).max(1).min() > .8 and 0 < len(found) <= 300
    assert (np.diff(found.scores) <= 0).all()
    assert found.to_bytes() == make('b', image.copy()).to_bytes()
    masks = found.masks(range(len(found))).reshape(len(found), -1).astype(float)
    shared = masks @ masks.T
    alike = shared / (masks.sum(1)[:, None] + masks.sum(1) - shared)
    assert (alike - np.eye(len(found))).max() <= .95


def test_unions_find_what_no_node_is():
    """An object of two colours, each of which is more like the ground than like the other."""
    image, objects = picture()
    nodes = HierarchyProposals(segments=150, colour_weights=(1.,), unions=False)('a', image)
    unions = HierarchyProposals(segments=150, colour_weights=(1.,))('a', image)
    assert nodes.iou(objects[1]).max() < .8 < unions.iou(objects[1]).max()


@pytest.mark.parametrize('size', [(1, 1), (1, 30), (7, 2)])
def test_images_of_a_few_pixels_or_one_colour(size):
    for partition in ('felzenszwalb', 'slic'):
        found = HierarchyProposals(partition)('a', np.full((*size, 3), 90, np.uint8))
        assert found.shape == size and len(found) >= 1 and found.mask(0).any()


@pytest.mark.parametrize('settings', [dict(segments=0), dict(colour_weights=()), dict(colour_weights=(2,)),
                                      dict(max_proposals=0), dict(partition='quickshift')])
def test_settings_are_checked(settings):
    with pytest.raises(ConfigError, match='HierarchyProposals: '):
        HierarchyProposals(**settings)


@pytest.mark.parametrize('package, extra, partition', [('skimage', 'proposals', 'slic'), ('higra', 'hierarchy', 'ucm')])
def test_missing_packages_are_named_with_their_extra(monkeypatch, package, extra, partition):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WSSSError, match='is not installed') as caught:
        hierarchy_proposals.HierarchyProposals(partition)
    assert f'"wsss_mm[{extra}]"' in caught.value.fix
