import math

import pytest
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity import neighbour_offsets
from wsss_mm.refinement import random_walk
from wsss_mm.refinement.random_walk import chebyshev_weights

OFFSETS = neighbour_offsets(5)


def dense_walk(maps: Tensor, affinities: Tensor, beta: float, steps: int) -> Tensor:
    """As the equations have it: an N x N matrix and its power."""
    _, height, width = maps.shape
    matrix = torch.eye(height * width, dtype=torch.float64)
    for p, (dy, dx) in enumerate(OFFSETS.tolist()):
        for y in range(height - dy):
            for x in range(max(-dx, 0), min(width, width - dx)):
                i, j = y * width + x, (y + dy) * width + x + dx
                matrix[i, j] = matrix[j, i] = affinities[p, y, x]
    matrix = matrix ** beta
    return (maps.flatten(1) @ torch.matrix_power(matrix / matrix.sum(0), steps)).view(maps.shape)


def draw(*size: int, count: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, *size, generator=generator, dtype=torch.float64),
            torch.rand(len(OFFSETS), *size, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (7, 1), (3, 2), (4, 4), (9, 3), (17, 22)])
@pytest.mark.parametrize('steps', [1, 2, 7, 64, 256])
def test_walk_is_the_dense_walk(size, steps):
    maps, affinities = draw(*size)
    expected = dense_walk(maps, affinities, 8, steps)
    assert torch.allclose(random_walk(maps, affinities, OFFSETS, 8, steps), expected, rtol=0, atol=1e-12)


def test_partners_outside_are_not_read():
    maps, affinities = draw(6, 8)
    expected = random_walk(maps, affinities, OFFSETS, 8, 64)
    for p, (dy, dx) in enumerate(OFFSETS.tolist()):
        affinities[p, max(6 - dy, 0):] = math.nan
        affinities[p, :, 8 - dx:] = math.nan if dx > 0 else affinities[p, :, 8:]
        affinities[p, :, :max(-dx, 0)] = math.nan
    assert affinities.isnan().any()
    assert torch.equal(random_walk(maps, affinities, OFFSETS, 8, 64), expected)


@pytest.mark.parametrize('case', ['sq14', 'rect12x17'])
def test_psa_fixture(parity, case):
    found = parity('psa/psa')
    maps, matrix = found[f'{case}_cam_low'], found[f'{case}_W'].double()
    _, height, width = maps.shape
    affinities = torch.full((len(OFFSETS), height, width), math.nan, dtype=torch.float64)
    for p, (dy, dx) in enumerate(OFFSETS.tolist()):
        for y in range(height - dy):
            for x in range(max(-dx, 0), min(width, width - dx)):
                affinities[p, y, x] = matrix[y * width + x, (y + dy) * width + x + dx]
    walked = random_walk(maps, affinities, OFFSETS, 8, 256)
    # the matrix was saved as float32, the result computed from float64
    assert torch.allclose(walked, found[f'{case}_rw'], rtol=0, atol=1e-5)
    assert torch.equal(walked.argmax(0), found[f'{case}_rw_argmax'].long())
    isolated = found[f'{case}_isolated'].long()
    assert torch.allclose(walked.flatten(1)[:, isolated], maps.flatten(1)[:, isolated], rtol=0, atol=1e-12)


@pytest.mark.parametrize(('beta', 'steps', 'tolerance'), [(10, 256, 3e-5), (10, 8, 5e-6), (10, 1, 1e-6), (1, 16, 5e-6)])
def test_irn_fixture(parity, beta, steps, tolerance):
    found, geometry = parity('irn/random_walk'), parity('irn/search_geometry')
    height, width = 17, 22
    # sources are the rows 0 … h and the columns -1 … w of the map
    affinities = found['aff_sparse'].view(34, height + 1, width + 2)[:, :height, 1:-1]
    maps = found['cam'] * (1 - found['edge'])
    walked = random_walk(maps, affinities, geometry['r5_dst'], beta, steps)
    assert walked.dtype == torch.float32
    assert torch.allclose(walked, found[f'rw_beta{beta}_pow{steps}'], rtol=0, atol=tolerance)


def test_no_steps_change_nothing():
    maps, affinities = draw(6, 5)
    assert torch.equal(random_walk(maps, affinities, OFFSETS, 8, 0), maps)
    assert random_walk(maps[:0], affinities, OFFSETS, 8, 64).shape == (0, 6, 5)


def test_values_stay_in_their_range_and_constants_stay():
    maps, affinities = draw(11, 13)
    maps[1] = .37
    walked = random_walk(maps, affinities, OFFSETS, 2, 256)
    assert torch.allclose(walked[1], maps[1], rtol=0, atol=1e-12)
    assert maps[0].min() <= walked[0].min() and walked[0].max() <= maps[0].max()
    assert walked[0].std() < .1 * maps[0].std()


def test_mirrored_image_gives_the_mirrored_walk():
    maps, affinities = draw(7, 9)
    mirrored = torch.zeros_like(affinities)
    for p, (dy, dx) in enumerate(OFFSETS.tolist()):
        flipped = affinities[p].flip(1)
        if dy:   # (y, x)–(y + dy, x - dx) begins where (y, x)–(y + dy, x + dx) did
            q = OFFSETS.tolist().index([dy, -dx])
            mirrored[q] = flipped
        else:    # the other pixel of the pair is the left one
            mirrored[p, :, :9 - dx] = flipped[:, dx:]
    walked = random_walk(maps.flip(2), mirrored, OFFSETS, 8, 64)
    assert torch.allclose(walked.flip(2), random_walk(maps, affinities, OFFSETS, 8, 64), rtol=0, atol=1e-12)


def test_no_affinity_leaves_maps_alone_and_barriers_hold():
    maps, affinities = draw(8, 9)
    assert torch.allclose(random_walk(maps, 0 * affinities, OFFSETS, 8, 256), maps, rtol=0, atol=1e-12)
    # nothing crosses from the columns 0 … 3 to the others
    columns = torch.arange(9)
    for p, (_, dx) in enumerate(OFFSETS.tolist()):
        affinities[p, :, (columns < 4) != (columns + dx < 4)] = 0
    maps[0, :, :4], maps[0, :, 4:] = 0, 1
    assert torch.allclose(random_walk(maps, affinities, OFFSETS, 8, 256)[0], maps[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize('power', [0, 1, 2, 5, 64, 256, 3000])
def test_expansion_is_the_power(power):
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    weights = chebyshev_weights(power)
    angles = x.acos()
    series = sum((c * (k * angles).cos() for k, c in enumerate(weights)), torch.zeros_like(x))
    assert torch.allclose(series, x ** power, rtol=0, atol=1e-12)
    assert len(weights) <= power + 1
    assert power < 64 or len(weights) < 8 * power ** .5 + 2


@pytest.mark.parametrize(('change', 'match'), [
    (dict(maps=torch.zeros(5, 4)), 'maps'), (dict(affinities=torch.zeros(34, 4, 6)), 'affinities'),
    (dict(steps=-1), 'steps'), (dict(offsets=-OFFSETS), 'offset')])
def test_what_does_not_fit_is_refused(change, match):
    settings = dict(maps=torch.zeros(2, 5, 4), affinities=torch.zeros(34, 5, 4), offsets=OFFSETS, beta=8, steps=4)
    with pytest.raises(ConfigError, match=match):
        random_walk(**{**settings, **change})


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_gives_the_same():
    maps, affinities = draw(31, 42)
    on_gpu = random_walk(maps.cuda(), affinities.cuda(), OFFSETS, 8, 256)
    assert torch.allclose(on_gpu.cpu(), random_walk(maps, affinities, OFFSETS, 8, 256), rtol=0, atol=1e-12)
