"""Hybrid spatial pyramid pooling (HSPP; Ru et al., Learning Visual Words for WSSS, IJCAI 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.base import BasePoolingHead
from wsss_mm.registry import MODELS


def hybrid_pyramid_pool(feature_map: Tensor, gamma: float = 2., bins: Sequence[int] = (1, 2, 4),
                        remainder: str = 'adaptive') -> Tensor:
    """Average pooling and the means of max-pooled grids, weighted: Section 3.3 of the paper.

    ``(gamma · GAP(F) + sum_r mean over cells of max(F, r x r cells)) / (gamma + number of grids)``. Reads the map once
    for each term; it is small beside the backbone that made it.

    Args:
        feature_map: ``(N, D, h, w)``.
        gamma: Weight of the average.
        bins: Cells r in each direction of each grid.
        remainder: Of sides that r does not divide. ``'adaptive'``: r cells cover the map, overlapping where they must.
            ``'official'``: cells of ``h // r`` x ``w // r`` as in the published code, which drops what is left over
            or, from small maps, takes more than r cells of it. The same where r divides both sides, as at the 32 x 32
            of the published training.

    Returns:
        ``(N, D)``.

    Raises:
        ConfigError: ``'official'`` and a side below the number of cells.
    """
    height, width = feature_map.shape[2:]
    pooled = gamma * feature_map.mean((2, 3))
    for r in bins:
        if remainder == 'adaptive' and (height % r or width % r):
            cells = F.adaptive_max_pool2d(feature_map, r)
        elif min(height, width) < r:
            raise ConfigError(f'a map of {height} x {width} has no {r} x {r} cells',
                              expected=f'sides of {max(bins)} or more', fix="set remainder='adaptive'")
        else:
            cells = F.max_pool2d(feature_map, (height // r, width // r))
        pooled = pooled + cells.mean((2, 3))
    return pooled / (gamma + len(bins))


@MODELS.register_module()
class HSPPHead(BasePoolingHead):
    """:func:`hybrid_pyramid_pool`, then the linear layer.

    Args:
        gamma: Weight of the average.
        bins: Cells in each direction of each max-pooled grid.
        remainder: ``'adaptive'`` (default: it takes any map, and is the published one at the published crop size) or
            ``'official'``.
        init_cfg: Default: PyTorch's own for a convolution, as in the published code.
        **options: As in :class:`BasePoolingHead`.

    Raises:
        ConfigError: a negative ``gamma``, bins that are no positive numbers, or another ``remainder``.
    """

    averages = True

    def __init__(self, num_classes: int, in_channels: int, *, gamma: float = 2., bins: Sequence[int] = (1, 2, 4),
                 remainder: str = 'adaptive', init_cfg: dict | list[dict] | None = None, **options: Any) -> None:
        default = dict(type='Kaiming', layer='Conv2d', a=5 ** .5, mode='fan_in', nonlinearity='leaky_relu',
                       distribution='uniform')
        super().__init__(num_classes, in_channels, init_cfg=init_cfg or default, **options)
        if gamma < 0 or not bins or min(bins) < 1:
            raise ConfigError(f'HSPPHead: gamma={gamma}, bins={tuple(bins)}',
                              expected='gamma of 0 or more, bins of 1 or more')
        if remainder not in ('adaptive', 'official'):
            raise ConfigError(f'HSPPHead: remainder={remainder!r}', expected="'adaptive' or 'official'")
        self.gamma = gamma
        self.bins = tuple(bins)
        self.remainder = remainder

    def logits(self, feature_map: Tensor) -> Tensor:
        """``(N, D, h, w)`` -> ``(N, C)``.

        Raises:
            ConfigError: ``remainder='official'`` and a map smaller than the finest grid.
        """
        return F.linear(hybrid_pyramid_pool(feature_map, self.gamma, self.bins, self.remainder), self.class_weights)
