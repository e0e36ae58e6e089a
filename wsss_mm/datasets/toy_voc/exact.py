"""Arithmetic that gives the same bits on every machine.

The toy data must be the same everywhere, so that scores on it can be compared. IEEE 754 fixes + - * / and
comparisons to the last bit, but not ``sin`` and ``exp`` (they differ between maths libraries), BLAS products and
long float sums (their order differs), nor OpenCV's filters (they differ between builds). Pixels are therefore made
from elementwise + - * / alone; sums run over integers; random numbers come from PCG64's raw words, the part of
NumPy's generators whose stream is fixed for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

T = TypeVar('T')
TAU = 6.283185307179586


class Draws:
    """A stream of random numbers from a key of non-negative integers."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float = 0., high: float = 1.) -> float:
        """A number from [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2. ** -53)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.uniform() < probability

    def integer(self, stop: int) -> int:
        """An integer from 0 to stop - 1."""
        return int(self.uniform() * stop)

    def choose(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options, with the given probabilities (equal ones by default)."""
        if weights is None:
            return options[self.integer(len(options))]
        u, total = self.uniform(), 0.
        for option, weight in zip(options, weights, strict=True):
            total += weight
            if u < total:
                return option
        return options[-1]

    def normal(self, mean: float = 0., std: float = 1.) -> float:
        """A nearly normal number, see ``normals``."""
        return mean + std * float(self.normals(1)[0])

    def normals(self, *shape: int) -> np.ndarray:
        """Nearly normal numbers, mean 0 and standard deviation 1, float32.

        Each is the centred sum of the eight bytes of a raw word: no logarithm, exact, cut off at 4.9.
        """
        words = self._bits.random_raw(math.prod(shape))
        for bits, mask in ((8, 0x00FF00FF00FF00FF), (16, 0x0000FFFF0000FFFF), (32, 0x00000000FFFFFFFF)):
            words = (words & np.uint64(mask)) + ((words >> np.uint64(bits)) & np.uint64(mask))
        # A byte has variance (256^2 - 1) / 12, mean 127.5.
        scale = 1 / math.sqrt(8 * (256 ** 2 - 1) / 12)
        return ((words.astype(np.float32) - np.float32(1020)) * np.float32(scale)).reshape(shape)


def wave(phase: np.ndarray) -> np.ndarray:
    """Bhaskara's rational sine, within .002 of sin(phase), phase in radians, any shape."""
    turns = phase * (1 / TAU)
    turns = turns - np.floor(turns)                      # [0, 1)
    z = (2 * turns) % 1                                  # place inside the half period
    hump = z * (1 - z)
    return np.where(turns < .5, 16., -16.).astype(phase.dtype) * hump / (5 - 4 * hump)


def cos_sin(angle: float) -> tuple[float, float]:
    """Cosine and sine of one angle in radians, rounded to 1e-9 so that the last bit of libm does not show."""
    return round(math.cos(angle), 9), round(math.sin(angle), 9)


def mix(a: Any, b: Any, share: np.ndarray) -> np.ndarray:
    """Blend colours or images a and b (broadcast to (h, w, 3)) by share (h, w), clipped to [0, 1]."""
    return a + (b - a) * np.clip(share, 0, 1)[..., None]


def exact_mean(image: np.ndarray) -> np.ndarray:
    """Mean over the first two axes of (h, w, 3), summed as integers in steps of 1/256."""
    steps = np.rint(image * 256).astype(np.int64)
    return (steps.sum((0, 1)) / (256 * image.shape[0] * image.shape[1])).astype(np.float32)


def _taps(field: np.ndarray, index: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
    """Weighted sum of ``field`` taken along axis 0 or 1 at ``index`` (n, k) with ``weight`` (n, k)."""
    shape = [1] * field.ndim
    shape[axis] = -1
    out = np.take(field, index[:, 0], axis) * weight[:, 0].reshape(shape)
    for k in range(1, index.shape[1]):
        out += np.take(field, index[:, k], axis) * weight[:, k].reshape(shape)
    return out


def _cubic(start: float, step: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights (n, 4) of Keys' cubic interpolation (a = -.75) at start + step * i, from index 1 on."""
    at = start + step * np.arange(n)
    base = np.floor(at)
    t = (at - base)[:, None] + np.array([1., 0., -1., -2.])
    d, a = np.abs(t), -.75
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return base.astype(np.int64)[:, None] + np.arange(4), np.where(d <= 1, near, far).astype(np.float32)


def noise(draws: Draws, height: int, width: int, cell: float, cell_x: float | None = None) -> np.ndarray:
    """A smooth random field (height, width), float32: normal values on a grid of ``cell`` pixels, cubic between.

    ``cell_x`` is the horizontal cell where it differs.
    """
    cell_x = cell if cell_x is None else cell_x
    grid = draws.normals(int(height / cell) + 5, int(width / cell_x) + 5)
    rows = _taps(grid, *_cubic(draws.uniform(), 1 / cell, height), axis=0)
    return _taps(rows, *_cubic(draws.uniform(), 1 / cell_x, width), axis=1)


@lru_cache(maxsize=32)
def _area(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights of the mean over each of n_out equal stretches of n_in cells."""
    size = n_in / n_out
    start = size * np.arange(n_out)[:, None]
    index = np.floor(start).astype(np.int64) + np.arange(math.ceil(size) + 1)
    covered = np.minimum(index + 1, start + size) - np.maximum(index, start)
    return np.minimum(index, n_in - 1), (np.clip(covered, 0, None) / size).astype(np.float32)


def reduce_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Reduce (H, W) or (H, W, 3) by area means."""
    if (image.shape[0], image.shape[1]) == (2 * height, 2 * width):
        return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) * np.float32(.25)
    rows = _taps(image, *_area(image.shape[0], height), axis=0)
    return _taps(rows, *_area(image.shape[1], width), axis=1)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W) or (H, W, 3), edges repeated; sigma in pixels."""
    radius = max(1, math.ceil(3 * sigma))
    # Weights on a grid of 2^-20: the last bit of exp does not show.
    half = [round(math.exp(-.5 * (k / sigma) ** 2) * 2 ** 20) for k in range(radius + 1)]
    total = half[0] + 2 * sum(half[1:])
    for axis in (0, 1):
        n = image.shape[axis]
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = np.pad(image, pad, mode='edge')
        out = image * np.float32(half[0] / total)
        for k in range(1, radius + 1):
            a, b = [slice(None)] * image.ndim, [slice(None)] * image.ndim
            a[axis], b[axis] = slice(radius - k, radius - k + n), slice(radius + k, radius + k + n)
            out += (padded[tuple(a)] + padded[tuple(b)]) * np.float32(half[k] / total)
        image = out
    return image


def slow_part(image: np.ndarray, sigma: float) -> np.ndarray:
    """A wide Gaussian blur of (H, W, 3), computed on a reduced grid: sigma in pixels of ``image``."""
    h, w = image.shape[:2]
    k = max(1, int(sigma / 2))
    hs, ws = max(h // k, 1), max(w // k, 1)
    small = blur(reduce_area(image, hs, ws), sigma * hs / h)
    padded = np.pad(small, ((2, 2), (2, 2), (0, 0)), mode='edge')
    rows = _taps(padded, *_cubic(.5 * hs / h + .5, hs / h, h), axis=0)
    return _taps(rows, *_cubic(.5 * ws / w + .5, ws / w, w), axis=1)
