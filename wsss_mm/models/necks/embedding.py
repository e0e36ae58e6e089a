"""A narrow embedding between backbone and head."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from wsss_mm.models.heads.base import select_map
from wsss_mm.registry import MODELS


@MODELS.register_module()
class EmbeddingNeck(BaseModule):
    """A 1x1 convolution without bias, and ReLU: AEFT's 4096 -> 256 before its classifier.

    Args:
        in_channels: Channels D of the map.
        channels: Channels of the embedding.
        in_index: Which of the backbone's maps.
        init_cfg: Default: Xavier, uniform.
    """

    def __init__(self, in_channels: int, channels: int = 256, in_index: int = -1,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg or dict(type='Xavier', layer='Conv2d', distribution='uniform'))
        self.in_index = in_index
        self.embedding = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor]:
        """The backbone's maps -> one map ``(N, channels, h, w)``, non-negative.

        Raises:
            ConfigError: a bare tensor instead of a tuple, or a map of another width.
        """
        feature_map = select_map(feats, self.in_index, self.embedding.in_channels, type(self).__name__)
        return (F.relu(self.embedding(feature_map)),)
