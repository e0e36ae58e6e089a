"""Global average pooling (Zhou et al., CVPR 2016)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.heads.base import BasePoolingHead
from wsss_mm.registry import MODELS


@MODELS.register_module()
class GAPHead(BasePoolingHead):
    """Image logit = mean of the class map."""

    averages = True

    def logits(self, feature_map: Tensor) -> Tensor:
        """Pools before the linear layer: the same by linearity, and h·w times cheaper."""
        return F.linear(feature_map.mean((2, 3)), self.class_weights)
