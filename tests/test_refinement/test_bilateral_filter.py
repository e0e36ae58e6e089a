"""The bilateral filter against sums written out, the lattice against the exact kernel, padding, bad input."""

import math

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.refinement import BilateralFilter, bilateral_filter


def batch(images=3, channels=4, height=9, width=12, dtype=torch.float64, seed=0):
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (images, 3, 3, 3)).repeat(-(-height // 3), 1).repeat(-(-width // 3), 2)
    pictures = pictures[:, :height, :width] + rng.integers(-5, 6, (images, height, width, 3))
    values = torch.from_numpy(rng.uniform(0, 1, (images, channels, height, width))).to(dtype)
    return torch.from_numpy(pictures.clip(0, 255).astype(np.uint8)), values


def written_out(image, values, xy, rgb):
    """One image, pixel by pixel."""
    height, width = image.shape[:2]
    out = np.zeros(values.shape)
    for y, x, v, u in np.ndindex(height, width, height, width):
        colour = ((image[y, x].astype(float) - image[v, u])**2).sum() / (2 * rgb**2)
        out[:, y, x] += math.exp(-((y - v)**2 + (x - u)**2) / (2 * xy**2) - colour) * values[:, v, u]
    return out


def test_exact_is_the_sum_over_all_pairs():
    images, values = batch(2, 2, 5, 6)
    found = BilateralFilter(2.5, 20, 'exact')(images, values)
    for image, value, out in zip(images.numpy(), values.numpy(), found.numpy(), strict=True):
        np.testing.assert_allclose(out, written_out(image, value, 2.5, 20), rtol=1e-12)
    single = BilateralFilter(2.5, 20, 'exact')(images, values.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=1e-5, atol=0)


def test_two_pixels_by_hand():
    """One apart, 30 grey levels apart in one channel: W = exp(-1/8 - 1/2)."""
    image = torch.tensor([[[[10, 50, 50], [40, 50, 50]]]], dtype=torch.uint8)
    found = BilateralFilter(2, 30, 'exact')(image, torch.tensor([[[[1., 3.]]]]))
    weight = math.exp(-.625)
    torch.testing.assert_close(found, torch.tensor([[[[1 + 3 * weight, weight + 3]]]]))


def test_the_lattice_is_near_up_to_a_factor():
    images, values = batch(2, 3, 40, 40)
    exact, lattice = (BilateralFilter(6, 40, kernel)(images, torch.cat([values, torch.ones_like(values[:, :1])], 1))
                      for kernel in ('exact', 'lattice'))
    means = [sums[:, :-1] / sums[:, -1:] for sums in (exact, lattice)]
    assert (means[0] - means[1]).abs().mean() < .01 < (means[0] - values).abs().mean() / 10


@pytest.mark.parametrize('kernel', ['exact', 'lattice'])
def test_batch_and_padding(kernel, monkeypatch):
    """Each image alone, whatever lies in padding, and a batch that is cut for memory: the same."""
    images, values = batch(dtype=torch.float32)
    valid = torch.ones(3, 9, 12, dtype=torch.bool)
    valid[0, 6:], valid[1, :, 7:], valid[2] = False, False, False
    bilateral = BilateralFilter(3, 30, kernel)
    found = bilateral(images, values, valid)
    for i in range(3):
        torch.testing.assert_close(found[i], bilateral(images[i:i + 1], values[i:i + 1], valid[i:i + 1])[0])
    torch.testing.assert_close(found[:1, :, :6], bilateral(images[:1, :6], values[:1, :, :6]))
    assert not found[~valid[:, None].expand_as(found)].any()
    images[~valid], values[~valid[:, None].expand_as(values)] = 7, torch.nan
    torch.testing.assert_close(bilateral(images, values, valid), found)
    monkeypatch.setattr(bilateral_filter, 'CHUNK', 2 * 108**2)
    torch.testing.assert_close(bilateral(images, values, valid), found)


def test_bad_input_is_named():
    for options, text in ((dict(xy=0, rgb=1), 'xy=0'), (dict(xy=1, rgb=float('nan')), 'rgb=nan'),
                          (dict(xy=1, rgb=1, kernel='x'), "kernel='x'")):
        with pytest.raises(ConfigError, match=text):
            BilateralFilter(**options)
    images, values = batch()
    for wrong in ((images.float(), values), (images[:2], values), (images, values[:, :, 1:]), (images, values[0])):
        with pytest.raises(DataError, match='BilateralFilter got images'):
            BilateralFilter(1, 1)(*wrong)
    with pytest.raises(ConfigError, match='101 x 100 = 10100 positions'):
        BilateralFilter(1, 1, 'exact')(torch.zeros(1, 101, 100, 3, dtype=torch.uint8), torch.zeros(1, 1, 101, 100))
