"""Paths between pixels, and the highest boundary on them."""

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity import path_affinities, path_offsets
from wsss_mm.models.affinity.paths import path_cells, ranked_paths, search_paths, source_window


@pytest.mark.parametrize('radius', [3, 5, 10])
def test_paths_are_the_published_ones(parity, radius):
    recorded = parity('irn/search_geometry')
    offsets, paths = search_paths(radius)
    assert path_offsets(radius).equal(recorded[f'r{radius}_dst'])
    assert [len(path) for path in paths] == recorded[f'r{radius}_len'].tolist()
    assert torch.tensor([cell for path in paths for cell in path]).equal(recorded[f'r{radius}_paths'])
    assert all(path[0] == offset and path[-1] == (0, 0) for offset, path in zip(offsets, paths, strict=True))


def first_maximum(boundary, y, x, dy, dx):
    """The first of the highest cells on the path of one pair, by hand; None where the pair leaves the map."""
    height, width = boundary.shape
    if not (y + dy < height and 0 <= x + dx < width):
        return None
    cells = [(y + i, x + j) for i, j in path_cells(dy, dx)]
    return cells[int(np.argmax([boundary[cell] for cell in cells]))]   # numpy's is the first


@pytest.mark.parametrize(('size', 'radius', 'levels'), [
    ((9, 11), 5, None), ((3, 7), 5, None), ((1, 6), 3, None), ((12, 13), 4, 3), ((12, 13), 4, 1)])
def test_affinities_and_first_maxima_are_those_of_the_paths(size, radius, levels):
    rng = np.random.default_rng(0)
    values = rng.random((2, *size)) if levels is None else rng.integers(0, levels, (2, *size)) / 8
    boundary = torch.from_numpy(values)
    found = path_affinities(boundary, radius)
    quadrants = list(ranked_paths(boundary, radius))
    for number, (dy, dx) in enumerate(search_paths(radius)[0]):
        quadrant = quadrants[dx < 0]
        for image in range(2):
            for y, x in np.ndindex(size):
                cell = first_maximum(values[image], y, x, dy, dx)
                if cell is not None:
                    assert found[image, number, y, x] == 1 - values[image][cell]
                    rank = int(quadrant.ranks[dy, dx][image, y, x])
                    assert divmod(int(quadrant.pixels[image, rank]), size[1]) == cell
                    assert quadrant.values[image, rank] == values[image][cell]


def test_maps_too_large_for_ranks_of_two_bytes():
    boundary = torch.from_numpy(np.random.default_rng(0).random((1, 182, 190), np.float32))
    found = path_affinities(boundary, 3)
    for quadrant in ranked_paths(boundary, 3):
        for (dy, dx), ranks in quadrant.ranks.items():
            assert ranks.dtype == torch.int32
            highest = quadrant.values.gather(1, ranks.flatten(1).long()).view(boundary.shape)
            number = search_paths(3)[0].index((dy, dx))
            inside = slice(0, 182 - dy), slice(max(0, -dx), 190 - max(0, dx))
            assert (1 - highest)[0][inside].equal(found[0, number][inside])


def test_affinities_of_a_padded_map_are_the_published_ones(parity):
    recorded = parity('irn/random_walk')
    height, width = recorded['edge'].shape[1:]
    padded = torch.nn.functional.pad(recorded['edge'], (5, 5, 0, 5), value=1.)
    found = path_affinities(padded, 5)[:, :, :height + 1, 4:width + 6]
    torch.testing.assert_close(found.flatten(2), recorded['aff_sparse'])


def test_inside_the_image_padding_changes_nothing(parity):
    boundary = parity('irn/random_walk')['edge']
    height, width = boundary.shape[1:]
    alone = path_affinities(boundary, 5)
    padded = path_affinities(torch.nn.functional.pad(boundary, (5, 5, 0, 5), value=1.), 5)[..., :height, 5:width + 5]
    for number, (dy, dx) in enumerate(search_paths(5)[0]):
        inside = 0, number, slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        assert alone[inside].equal(padded[inside])


def test_the_mirrored_map_has_the_mirrored_affinities():
    boundary = torch.from_numpy(np.random.default_rng(0).random((1, 10, 12), np.float32))
    plain, mirrored = path_affinities(boundary, 4), path_affinities(boundary.flip(2), 4)
    offsets = search_paths(4)[0]
    for number, (dy, dx) in enumerate(offsets):
        if dy and dx:
            other = offsets.index((dy, -dx))
            inside = slice(0, 10 - dy), slice(max(0, -dx), 12 - max(0, dx))
            assert plain[0, number][inside].equal(mirrored[0, other].flip(1)[inside])


def test_source_windows():
    assert source_window(20, 26, 5, 'inner') == (slice(0, 16), slice(4, 22))
    assert source_window(20, 26, 5, 'all') == (slice(0, 20), slice(0, 26))
    with pytest.raises(ConfigError, match='map of 17 x 17'):
        source_window(17, 17, 10, 'inner')
    with pytest.raises(ConfigError, match="pairs='outer'"):
        source_window(20, 26, 5, 'outer')
