"""Gated pyramid pooling of class maps (AEFT, Yoon et al., ECCV 2022): the maths, on tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pyramid(class_maps: Tensor, bins: Sequence[int]) -> list[Tensor]:
    """The class maps averaged over g x g cells and resized back, for each g.

    Adaptive cells, so a map smaller than g repeats pixels, and one that g does not divide has overlapping cells.

    Args:
        class_maps: ``(N, C, h, w)``, signed.
        bins: Cells g in each direction.

    Returns:
        One ``(N, C, h, w)`` for each g.
    """
    return [F.interpolate(F.adaptive_avg_pool2d(class_maps, g), class_maps.shape[2:], mode='bilinear',
                          align_corners=False) for g in bins]


def gated_sum(running: Tensor, level: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Two levels into one: Section 3.2 of the paper, separately for what speaks for a class and against it.

    ``(a0 · x+ + a1 · y+) / 2 - (b0 · x- + b1 · y-) / 2``, where ``a = sigmoid(alpha * [x+, y+])`` and
    ``b = sigmoid(beta * [x-, y-])``, 3x3 convolutions.

    Args:
        running: ``(N, C, h, w)``, x.
        level: ``(N, C, h, w)``, y.
        alpha, beta: ``(2, 2 C, 3, 3)``; output 0 gates x, output 1 gates y, for all classes alike.
    """
    def gated(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        gates = F.conv2d(torch.cat([x, y], 1), weight, padding=1).sigmoid()
        return gates[:, :1] * x + gates[:, 1:] * y

    return (gated(running.relu(), level.relu(), alpha) - gated((-running).relu(), (-level).relu(), beta)) / 2


def agreement_logits(pooled_maps: Tensor, class_maps: Tensor) -> Tensor:
    """Image logits: products where both maps have one sign, averaged over all positions, with that sign.

    Args:
        pooled_maps: ``(N, C, h, w)``, the weights P.
        class_maps: ``(N, C, h, w)``, f.

    Returns:
        ``(N, C)``: ``mean(P+ · f+) - mean(P- · f-)``.
    """
    positive = pooled_maps.relu() * class_maps.relu()
    return (positive - (-pooled_maps).relu() * (-class_maps).relu()).mean((2, 3))
