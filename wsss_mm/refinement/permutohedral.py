"""High-dimensional Gaussian filtering on the permutohedral lattice, in plain PyTorch.

Adams, Baek, Davis: "Fast High-Dimensional Filtering Using the Permutohedral Lattice" (Eurographics 2010), with the
scaling, blur and slice factors of Krähenbühl and Koltun's dense CRF (NIPS 2011), so that both give the same numbers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

# glibc maps arrays above 32 MiB anew each time, and the page faults cost more than the filter: on the CPU as many
# channels at once as stay below it.
_HEAP_FLOATS = 2**23


class PermutohedralLattice:
    """Approximates ``out_i = sum_j exp(-|f_i - f_j|^2 / 2) in_j``, up to a factor, in time linear in N.

    Built once per set of features, it filters any number of values. ``filter`` is splat, blur and slice; each is one
    sparse product with a fixed number of non-zeros per row, done by ``embedding_bag``, which makes no
    temporaries and adds up each row in one place and order, so that the same values give the same result.

    As in the original, mass that blurs onto a lattice point that no pixel uses is lost, so the filter is symmetric
    only away from the border of the points in use.

    Cost, for N points in d dimensions, M <= N (d + 1) lattice points and K channels: the exact sum is O(N^2 K);
    building is one sort of N (d + 1) integers and d + 1 look-ups of M in it; filtering is
    O((2 N (d + 1) + 3 M (d + 1)) K), which is the floor for this lattice, as every weight is used once.

    Args:
        features: ``(N, d)`` positions, already divided by each dimension's standard deviation; float32 is used.

    Attributes:
        size: M, the number of lattice points in use.

    Raises:
        ValueError: features that are not ``(N >= 1, d >= 1)``, not finite, or too large for float32.
    """

    def __init__(self, features: Tensor) -> None:
        if features.ndim != 2 or 0 in features.shape:
            raise ValueError(f'features of shape {tuple(features.shape)}; expected (N, d), neither of them 0')
        vertex, rank, barycentric = _enclosing_simplex(features.detach().t().float())
        barycentric = barycentric.t().contiguous()
        self._slice_weight = barycentric / (1 + 2.0 ** -features.shape[1])
        self._build(*_vertex_codes(vertex, rank), barycentric)

    def _build(self, codes: Tensor, steps: Tensor, barycentric: Tensor) -> None:
        """Number the lattice points and find their neighbours.

        Args:
            codes: ``(d + 1, N)`` int64, each pixel's d + 1 lattice points.
            steps: ``(d + 1,)`` int64, what the code grows by along each lattice axis.
            barycentric: ``(N, d + 1)`` float32.
        """
        corners = len(codes)
        codes = codes.t().reshape(-1)
        ordered, order = torch.sort(codes, stable=True)
        points, number, count = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
        self.size = len(points)
        # embedding_bag takes int32, which halves what filtering has to read; it counts up to 3 (M + 1) in it
        index = torch.int32 if 3 * (len(codes) + 1) < 2**31 else torch.int64
        self._slice_index = torch.empty_like(codes, dtype=index).scatter_(0, order, number.to(index)).view(-1, corners)
        self._splat_index = torch.div(order, corners, rounding_mode='floor').to(index)
        self._splat_weight = barycentric.view(-1)[order]
        # one more point, without pixels, is 0 throughout and stands for all that are not in use
        self._splat_offset = F.pad(F.pad(count, (0, 1)).cumsum(0), (1, 0)).to(index)
        self._blur_index = [_neighbours(points, step, index) for step in steps]
        self._blur_weight = barycentric.new_tensor([1, 0.5, 0.5]).repeat(self.size + 1, 1)

    def filter(self, values: Tensor) -> Tensor:
        """Filter K channels at once; every channel gives what it would give alone.

        Args:
            values: ``(N, K)`` float32 on the features' device.

        Returns:
            ``(N, K)`` float32.
        """
        channels = values.shape[1]
        if values.device.type == 'cpu':
            channels = max(1, _HEAP_FLOATS // (self.size + 1))
        groups = math.ceil(values.shape[1] / channels)
        return torch.cat([self._filter(group) for group in values.chunk(groups, 1)], 1)

    def _filter(self, values: Tensor) -> Tensor:
        lattice = F.embedding_bag(self._splat_index, values.contiguous(), self._splat_offset, mode='sum',
                                  per_sample_weights=self._splat_weight, include_last_offset=True)
        for index in self._blur_index:
            lattice = F.embedding_bag(index, lattice, mode='sum', per_sample_weights=self._blur_weight)
        return F.embedding_bag(self._slice_index, lattice, mode='sum', per_sample_weights=self._slice_weight)


def _enclosing_simplex(position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find each point's simplex (Adams et al., section 3.1).

    Args:
        position: ``(d, N)`` float32.

    Returns:
        The remainder-0 vertex divided by d + 1, ``(d + 1, N)`` float32 holding integers that sum to 0; the rank
        ``(d + 1, N)`` int64 of each coordinate's offset from it, 0 the largest; the barycentric weights
        ``(d + 1, N)`` of the vertices of remainder 0…d.
    """
    d, n = position.shape
    # Onto the plane sum(x) = 0 of R^(d + 1), scaled so that the whole filter has a standard deviation of 1. Points on
    # a face of their simplex are common, since pixels are integers, and rounding decides which lattice points they
    # bring into use: so every constant is rounded to float32 where Krähenbühl's code rounds it.
    deviation = float(np.float32(math.sqrt(2 / 3) * (d + 1)))
    elevated = position.new_empty(d + 1, n)
    beyond = position.new_zeros(n)
    for i in range(d, 0, -1):
        coordinate = position[i - 1] * (1 / math.sqrt(i * (i + 1)) * deviation)
        elevated[i] = beyond - coordinate * i
        beyond = beyond + coordinate
    elevated[0] = beyond
    vertex = (elevated * (1 / (d + 1))).round()
    surplus = vertex.sum(0)
    if not vertex.abs().amax() < 2**16:  # beyond it, float32 leaves too few bits within a simplex
        raise ValueError('features that are not finite, or above 100,000 standard deviations')

    offset = elevated - vertex * (d + 1)
    rank = torch.zeros_like(offset, dtype=torch.int16)
    for i in range(d):
        smaller = offset[i] < offset[i + 1:]
        rank[i] += smaller.sum(0, dtype=rank.dtype)
        rank[i + 1:] += ~smaller
    # the rounded point may lie off the plane; walk back along the coordinates that were rounded the furthest
    rank += surplus.to(rank.dtype)
    shift = (rank < 0).to(rank.dtype) - (rank > d).to(rank.dtype)
    rank = (rank + (d + 1) * shift).long()
    vertex += shift
    offset = (elevated - vertex * (d + 1)) * (1 / (d + 1))

    # by rank: o_0 >= … >= o_d; the weights are 1 + o_d - o_0, o_(d-1) - o_d, …, o_0 - o_1
    by_rank = torch.empty_like(offset).scatter_(0, rank, offset).flip(0)
    weight = torch.cat([1 + by_rank[:1] - by_rank[-1:], by_rank[1:] - by_rank[:-1]])
    return vertex, rank, weight


def _vertex_codes(vertex: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """One int64 per simplex vertex, linear in its position.

    With the d + 1 lattice axes u_j = 1 - (d + 1) e_j, which sum to 0, the vertex (d + 1) y is
    ``sum_{j < d} (y_d - y_j) u_j``: the lattice is Z^d in the first d axes, and the last is -1 in all of them. The
    vertex of remainder k + 1 is that of remainder k plus the axis of rank d - k.

    Args:
        vertex: ``(d + 1, N)``, y above.
        rank: ``(d + 1, N)`` int64.

    Returns:
        Codes ``(d + 1, N)`` of the vertices of remainder 0…d, and the axes' own codes ``(d + 1,)``.
    """
    coordinates = (vertex[-1] - vertex[:-1]).long()
    bounds = torch.stack(list(torch.aminmax(coordinates, dim=1)))
    # the vertices lie within 1 of the first one and their neighbours within 2: these widths keep all codes apart
    widths = [high - low + 5 for low, high in bounds.t().tolist()]
    if math.prod(widths) < 2**62:
        digits = [math.prod(widths[:i]) for i in range(len(widths))]
    else:
        # Too many bits to pack. A linear hash with wrap-around keeps all the rest as it is: two of n points collide
        # with a chance below n^2 / 2^64, 1e-7 for a million.
        digits = np.random.default_rng(0).integers(-2**63, 2**63 - 1, len(widths), endpoint=True).tolist()
    radix = torch.tensor(digits, device=vertex.device)
    steps = torch.cat([radix, -radix.sum(0, keepdim=True)])
    codes = ((coordinates - bounds[0][:, None]) * radix[:, None]).sum(0, keepdim=True)
    by_rank = torch.empty_like(rank).scatter_(0, rank, steps[:, None].expand_as(rank))
    return torch.cat([codes, by_rank[1:].flip(0)]).cumsum(0), steps


def _neighbours(points: Tensor, step: Tensor, index: torch.dtype) -> Tensor:
    """Each lattice point, the one after it and the one before it along one axis.

    Args:
        points: ``(M,)`` sorted codes.
        step: The axis's code.
        index: Integer type of the result.

    Returns:
        ``(M + 1, 3)`` indices; M is the point that is always 0, for neighbours that are not in use.
    """
    wanted = points + step
    after = _search(points, wanted)
    here = (points[after] == wanted).nonzero().squeeze(1)
    there = after[here]
    own = torch.arange(len(points) + 1, dtype=index, device=points.device)
    indices = torch.full((len(points) + 1, 3), len(points), dtype=index, device=points.device)
    indices[:, 0] = own
    indices[here, 1] = own[there]
    indices[there, 2] = own[here]
    return indices


def _search(points: Tensor, wanted: Tensor) -> Tensor:
    """Where each code would stand among the sorted points; the last place for codes beyond the end."""
    if points.device.type == 'cpu':
        # numpy starts each search from the one before: 3 times faster on sorted codes
        found = torch.from_numpy(np.searchsorted(points.numpy(), wanted.numpy()))
    else:
        found = torch.searchsorted(points, wanted)
    return found.clamp_(max=len(points) - 1)
