"""Gated pyramid pooling (GPP), the pooling head of AEFT (Yoon et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads import gated_pyramid_pooling as gpp
from wsss_mm.models.heads.base import BasePoolingHead, full_precision
from wsss_mm.registry import MODELS


@MODELS.register_module()
class GPPHead(BasePoolingHead):
    """Weighs each class map by a pyramid of itself, and averages the product.

    Logits are quadratic in the class maps, so pyramid and product are float32 also under autocast. Inference needs
    the class maps alone.

    Args:
        bins: Cells in each direction of each level, in the order in which the gates take them: ``(2, 4, 8, 16)`` is
            the published coarse to fine, ``(16, 8, 4, 2)`` fine to coarse; of a single level there is nothing to
            aggregate, and ``(16,)`` is the pooling of that level alone.
        aggregate: ``'gated'`` or ``'average'``, the mean of the levels without gates.
        init_cfg: Default: Xavier, uniform, for the classifier, PyTorch's own for the gates, as in the published code.
        **options: As in :class:`BasePoolingHead`.

    Raises:
        ConfigError: bins that are no positive numbers, or another ``aggregate``.
    """

    def __init__(self, num_classes: int, in_channels: int, *, bins: Sequence[int] = (2, 4, 8, 16),
                 aggregate: str = 'gated', init_cfg: dict | list[dict] | None = None, **options: Any) -> None:
        default = dict(type='Xavier', layer='Conv2d', distribution='uniform')
        super().__init__(num_classes, in_channels, init_cfg=init_cfg or default, **options)
        if not bins or min(bins) < 1:
            raise ConfigError(f'GPPHead: bins={tuple(bins)}', expected='one number of cells, 1 or more, for each level')
        if aggregate not in ('gated', 'average'):
            raise ConfigError(f'GPPHead: aggregate={aggregate!r}', expected="'gated' or 'average'",
                              fix='give fine to coarse by bins=(16, 8, 4, 2), a single level by bins=(16,)')
        self.bins = tuple(bins)
        self.aggregate = aggregate
        gates = len(bins) - 1 if aggregate == 'gated' else 0
        self.alpha, self.beta = (nn.ParameterList([nn.Conv2d(2 * num_classes, 2, 3, bias=False).weight
                                                   for _ in range(gates)]) for _ in range(2))

    def pooled_maps(self, class_maps: Tensor) -> Tensor:
        """Class maps ``(N, C, h, w)`` -> the pyramid's last map ``(N, C, h, w)``, float32 at least."""
        with torch.autocast(class_maps.device.type, enabled=False):
            levels = gpp.pyramid(full_precision(class_maps), self.bins)
            if self.aggregate == 'average':
                return torch.stack(levels).mean(0)
            running = levels[0]
            for level, alpha, beta in zip(levels[1:], self.alpha, self.beta, strict=True):
                running = gpp.gated_sum(running, level, alpha, beta)
            return running

    def logits(self, feature_map: Tensor) -> Tensor:
        """``(N, D, h, w)`` -> ``(N, C)``, float32 at least."""
        class_maps = self.project(feature_map)
        with torch.autocast(feature_map.device.type, enabled=False):
            return gpp.agreement_logits(self.pooled_maps(class_maps), full_precision(class_maps))
