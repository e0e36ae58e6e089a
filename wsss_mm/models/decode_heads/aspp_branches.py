"""The decode head of DeepLab-V2 on VGG-16: whole branches of fc6, fc7 and fc8, one per dilation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.decode_heads.weak_decode_head import WeakDecodeHead
from wsss_mm.registry import MODELS


@MODELS.register_module()
class ASPPBranchHead(WeakDecodeHead):
    """Parallel branches of DeepLab's fully connected layers, whose logits are added (DSRG's network).

    Each branch is fc6 (3x3, dilated), fc7 (1x1) and fc8 (1x1, to the classes), with ReLU and dropout after the first
    two. It stands on ``wsss_mm.VGG16(fully_connected=False, pools=True)``. As there is no one feature before the
    classifier, there are no cosines.

    Args:
        in_channels: Channels of the backbone's map.
        channels: Width of fc6 and fc7.
        num_classes: Classes with the background.
        rates: Dilation of fc6, one per branch.
        dropout_ratio: Channel dropout after fc6 and fc7.
        **kwargs: Those of :class:`WeakDecodeHead`, ``classifier='dot'`` (the default here) alone. fc8 starts from
            N(0, .01), as published; fc6 and fc7 by Kaiming, unless ``init_cfg`` says otherwise.

    Raises:
        ConfigError: no rates, or ``classifier='cosine'``.
    """

    def __init__(self, in_channels: int = 512, channels: int = 1024, *, num_classes: int,
                 rates: Sequence[int] = (6, 12, 18, 24), dropout_ratio: float = .5, classifier: str = 'dot',
                 init_cfg: dict | list[dict] | None = None, **kwargs: Any) -> None:
        if not rates or classifier != 'dot':
            raise ConfigError(f'ASPPBranchHead: rates={tuple(rates)}, classifier={classifier!r}',
                              expected="one dilation or more, and classifier='dot'")
        if init_cfg is None:
            init_cfg = [dict(type='Kaiming', layer='Conv2d'), dict(type='Normal', std=.01, override=dict(name='fc8'))]
        super().__init__(in_channels, channels, num_classes=num_classes, classifier='dot', init_cfg=init_cfg, **kwargs)
        self.fc6 = nn.ModuleList(nn.Conv2d(in_channels, channels, 3, padding=rate, dilation=rate) for rate in rates)
        self.fc7 = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in rates)
        self.fc8 = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for _ in rates)
        self.drop = nn.Dropout2d(dropout_ratio)
        del self.conv_seg   # a parameter without a gradient would stop distributed training

    def _forward_feature(self, inputs: tuple[Tensor, ...]) -> Tensor:
        return self._transform_inputs(inputs)

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Logits ``(N, num_classes, h, w)`` of the backbone's map."""
        return sum(fc8(self.drop(F.relu(fc7(self.drop(F.relu(fc6(feat)))))))
                   for fc6, fc7, fc8 in zip(self.fc6, self.fc7, self.fc8, strict=True))
