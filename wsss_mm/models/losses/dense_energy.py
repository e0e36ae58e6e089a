"""The dense CRF's energy as a loss (Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", ECCV
2018): pixels that are near in place and colour should get the same class."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wsss_mm.models.losses.seeds import SeedBatch, SeedLoss, full_precision
from wsss_mm.registry import MODELS, TASK_UTILS


def dense_energy(probabilities: Tensor, weighted_sums: Callable[[Tensor], Tensor], valid: Tensor | None = None
                 ) -> Tensor:
    """``sum_k S_k' W (1 - S_k) / 1' W 1`` of each image, its mean over images; S_k is class k's map as a vector.

    This is how often two pixels get different classes, if they are drawn in proportion to W and their classes from S:
    between 0 and 1 whatever the image's size. The published energy is the numerator, which grows with the square of
    the pixels, so that its weights (of the order of 1e-9) cannot be carried over. An image without valid pixels adds
    0 and counts in the mean.

    The gradient is ``(W 1 - 2 W S_k) / 1' W 1``, W being symmetric (the lattice's is, but for the border of the
    positions in use). No graph passes through W: its sums are taken once for value and gradient, with those of ones as
    one more channel. Naive: a product over all pairs for every class, and again in the backward pass, 3 to 4 times as
    long as with exact sums, 6 to 43 times as with the lattice (``benchmarks/results/dense_energy.md``).

    Args:
        probabilities: ``(N, C, h, w)``, summing to 1 over the classes.
        weighted_sums: ``W`` times each map of ``(N, K, h, w)``; 0 outside ``valid``.
        valid: ``(N, h, w)`` bool, False in padding, which belongs to no pair.

    Returns:
        A scalar.
    """
    inside = torch.ones_like(probabilities[:, :1]) if valid is None else valid[:, None].to(probabilities.dtype)
    maps = probabilities if valid is None else torch.where(valid[:, None], probabilities, 0)
    fixed = maps.detach()
    sums = weighted_sums(torch.cat([fixed, inside], 1)).to(maps.dtype)
    like, degree = sums[:, :-1], sums[:, -1:]
    pairs = degree.flatten(1).sum(1)
    # The value of S' (W 1 - W S) with the gradient W 1 - 2 W S.
    energy = (maps * (degree - 2 * like)).flatten(1).sum(1) + (fixed * like).flatten(1).sum(1)
    return torch.where(pairs > 0, energy / pairs.clamp_min(1), 0).mean()


@MODELS.register_module()
class DenseEnergyLoss(SeedLoss):
    """``weight *`` :func:`dense_energy` of the softmax at the resolution of the logits; beside a loss on seeds.

    Args:
        weight: Of the energy, which lies between 0 and 1.
        filter: Config of W, called as :class:`~wsss_mm.refinement.BilateralFilter`; None is that class with the
            widths that are customary for this loss, 15 grey levels and 100 pixels, the latter at a stride of 8.
    """

    def __init__(self, weight: float = 1., filter: dict | None = None) -> None:
        super().__init__()
        self.weight, self.filter_config = weight, filter

    def forward(self, logits: Tensor, batch: SeedBatch) -> dict[str, Tensor]:
        """``loss_dense_energy``, weighted; see :meth:`SeedLoss.forward`."""
        energy = dense_energy(full_precision(logits).softmax(1),
                              lambda maps: self.filter(batch.images, maps, batch.valid), batch.valid)
        return dict(loss_dense_energy=self.weight * energy)

    @cached_property
    def filter(self) -> Any:
        """Built when first used: refiners stand to the right of models, which must not import them."""
        config = dict(type='wsss_mm.BilateralFilter', xy=100 / 8, rgb=15.)
        return TASK_UTILS.build(config if self.filter_config is None else self.filter_config)
