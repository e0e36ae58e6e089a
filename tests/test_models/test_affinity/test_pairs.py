"""Neighbours of a pixel."""

import pytest

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity import neighbour_offsets


@pytest.mark.parametrize(('radius', 'count'), [(2, 4), (3, 12), (5, 34), (10, 152)])
def test_offsets_are_one_half_of_the_disc(radius, count):
    half = [tuple(o) for o in neighbour_offsets(radius).tolist()]
    both = {*half, *((-dy, -dx) for dy, dx in half)}
    reach = range(-radius, radius + 1)
    assert both == {(y, x) for y in reach for x in reach if 0 < y * y + x * x < radius * radius}
    assert len(half) == len(set(half)) == count and 2 * count == len(both)


def test_no_neighbours():
    with pytest.raises(ConfigError, match='radius=1'):
        neighbour_offsets(1)
