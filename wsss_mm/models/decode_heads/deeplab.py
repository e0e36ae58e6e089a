"""Decode heads of DeepLab-V1 (LargeFOV) and DeepLab-V2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.decode_heads.weak_decode_head import WeakDecodeHead
from wsss_mm.registry import MODELS


@MODELS.register_module()
class LargeFOVHead(WeakDecodeHead):
    """The classifier of DeepLab-LargeFOV, directly on the backbone's fc7 map.

    The large field of view, fc6 and fc7 are the backbone's (``wsss_mm.VGG16``), with their dropout.

    Args:
        in_channels: Channels of the fc7 map.
        num_classes: Classes with the background.
        **kwargs: Those of :class:`WeakDecodeHead`.
    """

    def __init__(self, in_channels: int = 1024, *, num_classes: int, **kwargs: Any) -> None:
        super().__init__(in_channels, in_channels, num_classes=num_classes, **kwargs)

    def _forward_feature(self, inputs: tuple[Tensor, ...]) -> Tensor:
        return self._transform_inputs(inputs)


@MODELS.register_module()
class DeepLabV2Head(WeakDecodeHead):
    """DeepLab-V2's parallel dilated 3x3 convolutions.

    ``form='features'``: each gives ``channels`` maps (no bias); their sum through a ReLU is the feature of a 1x1
    classifier (BANA). ``form='sum'``: each gives class scores (with bias) and the logits are their sum, as in DeepLab;
    no feature precedes the classifier, so losses that need its cosines are refused.

    Args:
        in_channels: Channels of the backbone's last map.
        channels: Channels of the feature; not used by ``form='sum'``.
        num_classes: Classes with the background.
        rates: Dilations of the convolutions.
        form: ``'features'`` or ``'sum'``.
        **kwargs: Those of :class:`WeakDecodeHead`; ``form='sum'`` needs ``classifier='dot'``.

    Raises:
        ConfigError: an unknown form, or a cosine where there is no feature.
    """

    def __init__(self, in_channels: int = 2048, channels: int = 256, *, num_classes: int,
                 rates: Sequence[int] = (6, 12, 18, 24), form: str = 'features', **kwargs: Any) -> None:
        if form not in ('features', 'sum'):
            raise ConfigError(f'form={form!r} of DeepLabV2Head', expected="'features' or 'sum'",
                              fix="set form='features' in the decode head")
        if form == 'sum' and kwargs.get('classifier', 'cosine') != 'dot':
            raise ConfigError("form='sum' of DeepLabV2Head has no feature before its classifier, so no cosine",
                              expected="classifier='dot' with form='sum'",
                              fix="set classifier='dot', or form='features'")
        super().__init__(in_channels, channels, num_classes=num_classes, **kwargs)
        self.form = form
        is_sum = form == 'sum'
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes if is_sum else channels, 3, padding=rate, dilation=rate, bias=is_sum)
            for rate in rates)
        if is_sum:
            self._refuse_cosine_losses()
            # The convolutions are the classifier; a parameter without a gradient would stop distributed training.
            del self.conv_seg

    def _refuse_cosine_losses(self) -> None:
        for loss in self._losses():
            if getattr(loss, 'needs_similarity', False):
                raise ConfigError(f"{type(loss).__name__} needs cosines to the classifier's weights; form='sum' of "
                                  'DeepLabV2Head has no feature before its classifier',
                                  expected='a loss on the logits alone',
                                  fix="set form='features', or take another loss_decode")

    def _forward_feature(self, inputs: tuple[Tensor, ...]) -> Tensor:
        feature = self._transform_inputs(inputs)
        return feature if self.form == 'sum' else F.relu(self._sum(feature))

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Logits ``(N, num_classes, h, w)`` of a feature map (``form='sum'``: of the backbone's map)."""
        return self._sum(feat) if self.form == 'sum' else super().cls_seg(feat)

    def _sum(self, maps: Tensor) -> Tensor:
        return sum(conv(maps) for conv in self.convs)
