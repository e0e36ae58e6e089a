"""Distances between the features of neighbours, and AffinityNet's loss on them (PSA, section 3.3)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wsss_mm.errors import ConfigError

_EPS = 1e-5
_WEIGHTS = dict(official=(.25, .25, .5), paper=(1., 1., 2.))


def pair_windows(height: int, width: int, dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where both pixels of an offset lie inside a map.

    Args:
        height, width: Of the map.
        dy, dx: The offset, ``dy >= 0``.

    Returns:
        Rows and columns of the first pixels, and of the second ones; empty where the map is too small.
    """
    rows, left = max(height - dy, 0), max(-dx, 0)
    columns = max(width - abs(dx), 0)
    right = left + dx
    return ((slice(0, rows), slice(left, left + columns)),
            (slice(dy, dy + rows), slice(right, right + columns)))


def pair_distances(features: Tensor, offsets: Tensor, reduction: str = 'mean') -> Tensor:
    """L1 distance of every pixel's feature to those of its neighbours.

    The published code gathers both features of all pairs: for each 448-pixel crop two tensors of 152 MB, and more of
    them for the gradient. Here each offset is one difference of two shifted views, in the forward and again in the
    backward pass, so that nothing but the features is kept. The floor is P readings of the features.

    Args:
        features: ``(N, D, h, w)``; half precision is computed in float32.
        offsets: ``(P, 2)`` ``dy, dx`` with ``dy >= 0``.
        reduction: Over channels: ``'mean'``, as published, or ``'sum'``, as in the paper (equation 1).

    Returns:
        ``(N, P, h, w)``; 0 where the neighbour lies outside.

    Raises:
        ConfigError: another ``reduction``.
    """
    if reduction not in ('mean', 'sum'):
        raise ConfigError(f'distance={reduction!r}', expected="'mean' or 'sum'")
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    pairs = tuple((int(dy), int(dx)) for dy, dx in offsets.tolist())
    return _PairDistances.apply(features, pairs, features.shape[1] if reduction == 'mean' else 1)


class _PairDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, pairs: tuple[tuple[int, int], ...], divisor: int) -> Tensor:
        ctx.save_for_backward(features)
        ctx.pairs, ctx.divisor = pairs, divisor
        count, _, height, width = features.shape
        distances = features.new_zeros(count, len(pairs), height, width)
        for p, pair in enumerate(pairs):
            first, second = ((..., *window) for window in pair_windows(height, width, *pair))
            distances[:, p][first] = (features[first] - features[second]).abs_().sum(1)
        return distances.div_(divisor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        features, = ctx.saved_tensors
        total = torch.zeros_like(features)
        for p, pair in enumerate(ctx.pairs):
            first, second = ((..., *window) for window in pair_windows(*features.shape[2:], *pair))
            part = (features[first] - features[second]).sign_().mul_(gradient[:, p][first].unsqueeze(1))
            total[first] += part
            total[second] -= part
        return total.div_(ctx.divisor), None, None


class PairLabels(NamedTuple):
    """Masks ``(N, P, h, w)`` bool of pairs: both background, both of one class, and of different labels."""

    background: Tensor
    foreground: Tensor
    different: Tensor


def pair_labels(labels: Tensor, offsets: Tensor, sources: Tensor | None = None) -> PairLabels:
    """What is known about each pair of neighbours (section 3.3.1): nothing where one of them is 255.

    They are made where the loss is, from the label map; made in the loaders, as published, they are 102 numbers a
    pixel.

    Args:
        labels: ``(N, h, w)`` segmentation ids at the features' stride, 255 ignored.
        offsets: ``(P, 2)``.
        sources: ``(h, w)`` bool, pixels that are compared with their neighbours, see :func:`released_sources`.
    """
    count, height, width = labels.shape
    partners = labels.new_full((count, len(offsets), height, width), 255)
    for p, (dy, dx) in enumerate(offsets.tolist()):
        first, second = ((..., *window) for window in pair_windows(height, width, dy, dx))
        partners[:, p][first] = labels[second]
    own = labels[:, None]
    known = (own < 255) & (partners < 255)
    if sources is not None:
        known = known & sources
    equal = known & (own == partners)
    return PairLabels(equal & (own == 0), equal & (own > 0), known & ~equal)


def released_sources(features: Tensor, radius: int) -> Tensor:
    """Pixels that the published code compares with their neighbours: those for which all of these lie inside.

    Pairs between pixels of the last rows, and of the margins, are so left out, and at radius 5 ten pixels have none.

    Args:
        features: ``(…, h, w)``, for their size and device.
        radius: Neighbours are nearer than this.

    Returns:
        ``(h, w)`` bool.
    """
    reach, (height, width) = radius - 1, features.shape[-2:]
    sources = torch.zeros(height, width, dtype=torch.bool, device=features.device)
    sources[:max(height - reach, 0), reach:max(width - reach, reach)] = True
    return sources


def affinity_loss(distances: Tensor, pairs: PairLabels, form: str = 'official') -> dict[str, Tensor]:
    """AffinityNet's loss (equations 2 to 5): ``-log W`` of equal pairs, ``-log(1 - W)`` of others, ``W = exp(-d)``.

    Each kind is a mean over its pairs in the whole batch; 0 where there is none.

    Args:
        distances: ``(N, P, h, w)`` d.
        pairs: Which pairs are which.
        form: ``'official'``: weights 1/4, 1/4 and 1/2; ``'paper'``: 1, 1 and 2.

    Returns:
        ``loss_bg_pairs``, ``loss_fg_pairs``, ``loss_neg_pairs``, which add up to the loss.

    Raises:
        ConfigError: another ``form``.
    """
    if form not in _WEIGHTS:
        raise ConfigError(f'loss={form!r}', expected=f'one of {", ".join(_WEIGHTS)}')
    affinity = torch.exp(-distances)
    positive, negative = -torch.log(affinity + _EPS), -torch.log(1 + _EPS - affinity)
    losses = dict(loss_bg_pairs=positive, loss_fg_pairs=positive, loss_neg_pairs=negative)
    return {name: weight * (values * mask).sum() / (mask.sum().to(values.dtype) + _EPS)
            for (name, values), mask, weight in zip(losses.items(), pairs, _WEIGHTS[form], strict=True)}
