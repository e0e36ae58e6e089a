"""VGG-16 with DeepLab's large field of view, the trunk of BANA's classifier and of DeepLab-V1."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.models.backbones.pretrained import CheckedPretrained, StateDict
from wsss_mm.registry import MODELS

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_POOL_STRIDES = (2, 2, 2, 1, 1)


def _caffe_names() -> dict[str, str]:
    """``conv1_1`` … ``conv5_3`` -> ``features.0`` … ``features.28``."""
    names, at = {}, 0
    for block, (_, depth) in enumerate(_BLOCKS, 1):
        for layer in range(1, depth + 1):
            names[f'conv{block}_{layer}'] = f'features.{at}'
            at += 2  # conv, ReLU
        at += 1  # pool
    return names


def convert_vgg16_keys(weights: StateDict) -> StateDict:
    """Caffe-style names of DeepLab's ``vgg16_20M`` (``conv1_1.weight`` …) -> torchvision's; others stay as they are."""
    names = _caffe_names()

    def convert(key: str) -> str:
        layer, _, kind = key.rpartition('.')
        return f'{names[layer]}.{kind}' if layer in names else key

    return {convert(k): v for k, v in weights.items()}


@MODELS.register_module()
class VGG16(CheckedPretrained):
    """VGG-16 LargeFOV: 13 convolutions, fc6 and fc7 as convolutions; output stride 8 (321 -> 41).

    Max pools are 3x3 with padding 1 and strides 2, 2, 2, 1, 1; block 5 has dilation 2; a 3x3 average pool (zeros of
    the padding counted) follows the last one, as in DeepLab-V1. Input: BGR minus (104.008, 116.669, 122.675).

    ``init_cfg=dict(type='Pretrained', checkpoint=…)`` takes torchvision's VGG-16 (``features.N``; its
    ``classifier.*`` is left aside and fc6, fc7 start from scratch), Caffe-style DeepLab weights (``conv1_1`` …,
    ``fc6``, ``fc7``) and this module's own.

    Args:
        fc_dilation: Dilation of fc6: 1 in BANA's classifier, 12 in DeepLab-V1.
        dropout_ratio: Channel dropout after fc6 and fc7.
        fully_connected: False ends with block 5, 512 channels: no pools after it, no fc6, no fc7 (FickleNet).
        pools: With ``fully_connected=False``: keep the pools after block 5, for a head with fc6 of its own (DSRG).
        init_cfg: Default: Kaiming.
    """

    scratch_init = (dict(type='Kaiming', layer='Conv2d'),)
    convert = staticmethod(convert_vgg16_keys)
    optional_parts = ('fc6.', 'fc7.')
    unused_parts: tuple[str, ...] = ('classifier.', 'fc8')

    def __init__(self, fc_dilation: int = 1, dropout_ratio: float = .5, fully_connected: bool = True,
                 pools: bool = False, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        layers: list[nn.Module] = []
        channels = 3
        for block, ((width, depth), stride) in enumerate(zip(_BLOCKS, _POOL_STRIDES, strict=True), 1):
            dilation = 2 if block == 5 else 1
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.fully_connected, self.pools = fully_connected, fully_connected or pools
        self.features = nn.Sequential(*layers if self.pools else layers[:-1])
        if self.pools:
            self.average_pool = nn.AvgPool2d(3, stride=1, padding=1)
        if not fully_connected:
            self.unused_parts += self.optional_parts
            return
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=fc_dilation, dilation=fc_dilation)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.dropout = nn.Dropout2d(dropout_ratio)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """``(N, 3, H, W)`` -> one map ``(N, 1024, h, w)``, or ``(N, 512, h, w)``, non-negative."""
        x = self.features(x)
        if self.pools:
            x = self.average_pool(x)
        if not self.fully_connected:
            return (x,)
        for layer in (self.fc6, self.fc7):
            x = self.dropout(F.relu(layer(x)))
        return (x,)
