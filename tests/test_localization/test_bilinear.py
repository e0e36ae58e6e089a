"""Low-resolution algebra against features that are really up-sampled."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_mm.localization import UpsampledFeatures, interpolation_matrix

SIDE = st.integers(1, 13)


def make(h: int, w: int, height: int, width: int, channels: int = 70, seed: int = 0):
    """Signed float64 features, and the same up-sampled."""
    f = torch.randn(channels, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    full = F.interpolate(f[None], (height, width), mode='bilinear', align_corners=True)[0]
    return UpsampledFeatures(f, height, width), full


@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE, st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_equals_upsampling_first(h, w, height, width, seed):
    up, full = make(h, w, height, width, seed=seed)
    vectors = torch.randn(3, 70, dtype=torch.float64)
    soft = torch.rand(2, height, width, dtype=torch.float64) + .01
    torch.testing.assert_close(up.project(vectors), torch.einsum('qd,dhw->qhw', vectors, full))
    torch.testing.assert_close(up.norm(), full.norm(dim=0))
    torch.testing.assert_close(up.masked_mean(soft), torch.einsum('qhw,dhw->qd', soft, full)
                               / soft.sum((1, 2))[:, None])


def test_bool_mask_is_the_plain_mean_and_an_empty_one_gives_zero():
    up, full = make(4, 5, 29, 33)
    mask = torch.rand(29, 33) > .7
    means = up.masked_mean(torch.stack([mask, torch.zeros_like(mask)]))
    torch.testing.assert_close(means[0], full[:, mask].mean(1))
    assert not means[1].any()


def test_float32_is_close_enough_for_a_relative_threshold():
    """A float32 map errs by about 1e-6 of itself, as up-sampling first does."""
    up, _ = make(12, 16, 90, 120, channels=512)
    exact = up.norm()
    single = UpsampledFeatures(up.features.float(), 90, 120).norm()
    assert ((single - exact).abs() / exact).max() < 2e-6


def test_norm_of_opposite_neighbours_is_zero_between_them():
    f = torch.tensor([[[1., -1.]]])
    norm = UpsampledFeatures(f, 1, 3).norm()
    torch.testing.assert_close(norm, torch.tensor([[1., 0., 1.]]))


@pytest.mark.parametrize('size_out, size_in', [(7, 3), (3, 7), (1, 4), (4, 1), (5, 5)])
def test_interpolation_matrix_keeps_straight_lines(size_out, size_in):
    matrix = interpolation_matrix(size_out, size_in, torch.zeros(1))
    line = matrix @ torch.linspace(0, 1, size_in)
    torch.testing.assert_close(matrix.sum(1), torch.ones(size_out))
    torch.testing.assert_close(line, torch.linspace(0, 1, size_out) if size_in > 1 else torch.zeros(size_out))
