"""Random walk over affinities between neighbouring pixels (PSA, section 3.4; IRN, section 3.4)."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError

# What the expansion leaves out, as a part of the walk; float64 rounds more away over hundreds of products.
_LEFT_OUT = 1e-14


@torch.no_grad()
def random_walk(maps: Tensor, affinities: Tensor, offsets: Tensor, beta: float, steps: int) -> Tensor:
    """Let maps walk over an image: ``maps T^steps``, maps as row vectors over the ``N = h w`` pixels.

    W is symmetric, with ones on its diagonal and the affinities of neighbours elsewhere; ``T_ij = W_ij^beta / sum_k
    W_kj^beta`` (equations 3 and 4 of PSA). Every step so replaces a value by a weighted average of its neighbours'.

    T is never a matrix. A product is one multiply-add of shifted maps per pair of neighbours and direction, 69 for
    each pixel at radius 5, and memory is that of ``affinities`` in float64, once. T has real eigenvalues in [-1, 1],
    so the power is a sum of Chebyshev polynomials of T whose weights are those of a binomial distribution: all but
    1e-14 of them belong to the first ``7.7 sqrt(steps)`` products, 122 instead of 256. The published 8 squarings of the
    matrix take ``16 N³`` operations and several matrices of ``N²``: 26 TFLOP and 552 MB each for a VOC image at
    stride 4, where this takes .17 GFLOP for each map. The floor is one reading of the affinities for each product.

    Args:
        maps: ``(K, h, w)`` of one image, on any device.
        affinities: ``(P, h, w)`` in [0, 1]: ``affinities[p, y, x]`` belongs to the pixels ``(y, x)`` and
            ``(y + dy, x + dx)``. Entries whose partner lies outside are not read, and may be anything.
        offsets: ``(P, 2)`` ``dy, dx`` with ``dy > 0``, or ``dy = 0`` and ``dx > 0``, as
            :func:`wsss_mm.models.affinity.neighbour_offsets` gives them.
        beta: Power of the affinities; PSA 8, IRN 10.
        steps: Number of steps; PSA and IRN 256, AEFT 64.

    Returns:
        ``(K, h, w)`` in the dtype of ``maps``; computed in float64.

    Raises:
        ConfigError: shapes that do not fit together, offsets of another half plane, or ``steps`` below 0.
    """
    pairs = [(int(dy), int(dx)) for dy, dx in offsets.tolist()]
    _check(maps, affinities, pairs, steps)
    count, height, width = maps.shape
    if not count or not steps or not pairs:
        return maps.clone()
    reach = max(abs(dx) for _, dx in pairs)
    # Columns of zeros to the right: on the flat grid every neighbour is then a shift, and none comes from the next row.
    stride = width + reach
    cells = height * stride
    shifts = [dy * stride + dx for dy, dx in pairs]
    weights = maps.new_zeros(len(pairs), height, stride, dtype=torch.float64)
    for weight, affinity, (dy, dx) in zip(weights, affinities, pairs, strict=True):
        inside = slice(0, max(height - dy, 0)), slice(max(-dx, 0), max(width - max(dx, 0), 0))
        weight[inside] = affinity[inside].double() ** beta
    weights = weights.flatten(1)

    def spread(start: Tensor, total: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The views ``(to, weight, from)`` that add to ``total`` what ``start`` gives to its neighbours."""
        return [views for shift, weight in zip(shifts, weights, strict=True) if shift < cells
                for views in ((total[:, :cells - shift], weight[:cells - shift], start[:, shift:]),
                              (total[:, shift:], weight[:cells - shift], start[:, :cells - shift]))]

    ones, sums = weights.new_ones(1, cells), weights.new_ones(1, cells)
    for to, weight, start in spread(ones, sums):
        to.addcmul_(weight, start)
    share = sums.reciprocal_()

    current = weights.new_zeros(count, height, stride)
    current[..., :width] = maps
    current = current.flatten(1)
    low, high = (bound(1, keepdim=True) for bound in (maps.double().flatten(1).amin, maps.double().flatten(1).amax))
    product = torch.empty_like(current)
    views = spread(current, product)
    series = chebyshev_weights(steps)
    result = current * series[0]
    previous = current.clone()
    for degree in range(1, len(series)):
        product.copy_(current)
        for to, weight, start in views:
            to.addcmul_(weight, start)
        product.mul_(share)
        if degree > 1:   # T_k = 2 x T_{k-1} - T_{k-2}
            product.mul_(2).sub_(previous)
        previous.copy_(current)
        current.copy_(product)
        if series[degree]:
            result.add_(current, alpha=series[degree])
    # An average never leaves the range of what it is made of; rounding may, by 1e-14.
    result = torch.maximum(torch.minimum(result, high), low)
    return result.view(count, height, stride)[..., :width].to(maps.dtype)


def chebyshev_weights(power: int) -> list[float]:
    """Weights ``c_k`` of ``x^power = sum_k c_k T_k(x)``, without the last ones, which sum to less than 1e-14.

    ``c_k = 2^(1 - n) C(n, (n - k) / 2)`` for k of the parity of n, half that for ``k = 0``. They sum to 1, and
    ``|T_k| <= 1`` on [-1, 1], so what is left out is the error there.

    Args:
        power: n, 0 or more.

    Returns:
        ``c_0 … c_d``.
    """
    weights = [0. if (power - k) % 2 else comb(power, (power - k) // 2) / 2 ** (power - (k > 0))
               for k in range(power + 1)]
    left_out = 0.
    while left_out + weights[-1] < _LEFT_OUT:
        left_out += weights.pop()
    return weights


def _check(maps: Tensor, affinities: Tensor, pairs: list[tuple[int, int]], steps: int) -> None:
    if maps.ndim != 3 or affinities.shape != (len(pairs), *maps.shape[1:]):
        raise ConfigError(f'random_walk: maps {tuple(maps.shape)}, affinities {tuple(affinities.shape)} and '
                          f'{len(pairs)} offsets', expected='(K, h, w), (P, h, w) and (P, 2)')
    if steps < 0:
        raise ConfigError(f'random_walk: steps={steps}', expected='0 or more')
    if wrong := [pair for pair in pairs if pair <= (0, 0)]:
        raise ConfigError(f'random_walk: offset {wrong[0]}', expected='dy > 0, or dy = 0 and dx > 0')
