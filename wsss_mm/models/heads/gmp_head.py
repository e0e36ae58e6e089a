"""Global max pooling."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.base import BasePoolingHead
from wsss_mm.registry import MODELS


@MODELS.register_module()
class GMPHead(BasePoolingHead):
    """Image logit from the largest responses, wherever they are.

    Args:
        on: ``'features'`` takes each channel's maximum, then the linear layer (the baseline beside hybrid spatial
            pyramid pooling). ``'maps'`` takes the maximum of each class map, so that one place decides for all
            channels (Oquab et al., CVPR 2015). The two differ, as the maximum is not linear.
        **options: As in :class:`BasePoolingHead`.

    Raises:
        ConfigError: another value of ``on``.
    """

    averages = True

    def __init__(self, num_classes: int, in_channels: int, *, on: str = 'features', **options: Any) -> None:
        super().__init__(num_classes, in_channels, **options)
        if on not in ('features', 'maps'):
            raise ConfigError(f'GMPHead: on={on!r}', expected="'features' or 'maps'")
        self.on = on

    def logits(self, feature_map: Tensor) -> Tensor:
        """``(N, D, h, w)`` -> ``(N, C)``."""
        if self.on == 'maps':
            return self.project(feature_map).amax((2, 3))
        return F.linear(feature_map.amax((2, 3)), self.class_weights)
