"""ResNet-38 (Wu et al., "Wider or deeper", model A1) with dilation, the trunk of PSA, AEFT and many others."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.backbones.pretrained import CheckedPretrained, StateDict
from wsss_mm.registry import MODELS

_MXNET_NORMS = dict(gamma='weight', beta='bias', moving_mean='running_mean', moving_var='running_var')


def convert_resnet38d_keys(weights: StateDict) -> StateDict:
    """Names of the published weight files -> this module's; what is not of the trunk (classifiers) is dropped.

    PyTorch files of the field (``b2_1.conv_branch2a.weight`` …) have this module's own names. The original MXNet file
    has ``arg:res2b1_branch2a_weight``, ``aux:bn2b1_branch2a_moving_mean`` and the like.
    """
    def convert(key: str) -> str:
        found = re.fullmatch(r'(?:arg|aux):(res|bn)(\d)(?:a|b(\d))_(branch\w+?)_(weight|gamma|beta|moving_\w+)', key)
        if found:
            kind, stage, block, layer, what = found.groups()
            name = f'b{stage}_{block}' if block else f'b{stage}'
            return f'{name}.{"conv" if kind == "res" else "bn"}_{layer}.{_MXNET_NORMS.get(what, what)}'
        found = re.fullmatch(r'(?:arg|aux):(conv1a|bn7)_(\w+)', key)
        return f'{found[1]}.{_MXNET_NORMS.get(found[2], found[2])}' if found else key

    return {name: v for k, v in weights.items() if re.match(r'(conv1a|b\d(_\d)?|bn7)\.', name := convert(k))}


class _PreActivation(nn.Module):
    """What both kinds of block share: they open with batch norm and ReLU, and their shortcut is the input itself, or a
    1x1 projection of the opened input where the shape changes."""

    conv_branch1: nn.Conv2d | None

    def __init__(self, in_channels: int, out_channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.bn_branch2a = nn.BatchNorm2d(in_channels)
        self.conv_branch1 = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if project else None

    def open(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_branch2a(x), inplace=True)

    def residual(self, opened: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, opened: Tensor) -> Tensor:
        """``x`` and :meth:`open` of it, ``(N, D, h, w)`` -> the block's output."""
        return self.residual(opened) + (x if self.conv_branch1 is None else self.conv_branch1(opened))


class BasicBlock38(_PreActivation):
    """Two 3x3 convolutions.

    Args:
        in_channels, mid_channels, out_channels: Widths.
        stride: Of the first convolution.
        dilations: Of the two.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, stride: int = 1,
                 dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__(in_channels, out_channels, stride, in_channels != out_channels or stride != 1)
        first, second = dilations
        self.conv_branch2a = nn.Conv2d(in_channels, mid_channels, 3, stride, first, first, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(mid_channels)
        self.conv_branch2b1 = nn.Conv2d(mid_channels, out_channels, 3, 1, second, second, bias=False)

    def residual(self, opened: Tensor) -> Tensor:
        return self.conv_branch2b1(F.relu(self.bn_branch2b1(self.conv_branch2a(opened)), inplace=True))


class BottleneckBlock38(_PreActivation):
    """1x1, 3x3 and 1x1 convolution to a quarter, a half and the whole of the width; always with a projection.

    Args:
        in_channels, out_channels: Widths.
        dilation: Of the 3x3.
        dropout: Ratio of the channel dropout before the second and the third convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int, dropout: float) -> None:
        super().__init__(in_channels, out_channels, 1, True)
        quarter, half = out_channels // 4, out_channels // 2
        self.conv_branch2a = nn.Conv2d(in_channels, quarter, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.conv_branch2b1 = nn.Conv2d(quarter, half, 3, 1, dilation, dilation, bias=False)
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.conv_branch2b2 = nn.Conv2d(half, out_channels, 1, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def residual(self, opened: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.bn_branch2b1(self.conv_branch2a(opened)), inplace=True))
        x = self.dropout(F.relu(self.bn_branch2b2(self.conv_branch2b1(x)), inplace=True))
        return self.conv_branch2b2(x)


@MODELS.register_module()
class ResNet38d(CheckedPretrained):
    """Pre-activation wide ResNet with dilation, output stride 8 (sides are halved three times, rounding up).

    All batch norms use their running statistics, and their weights and biases are frozen. The first convolution and
    stage b2 are frozen too.

    ``init_cfg=dict(type='Pretrained', checkpoint=…)`` takes the original MXNet file (``….params``, ImageNet), the
    ``.pth`` files of the field and this module's own; heads in these files are left aside.

    Args:
        dropout: Of the blocks b6 and b7: (.2, .2) in AEFT, (.3, .5) in PSA.
        out_indices: Which maps are returned, after batch norm and ReLU: 0, 1, 2, 3 for the outputs of b4, b5, b6, b7
            with 512, 1024, 2048 and 4096 channels.
        base_channels: Channels of the first convolution; all other widths follow.
        init_cfg: Default: Kaiming.

    Raises:
        ConfigError: a map that there is none of.
    """

    scratch_init = (dict(type='Kaiming', layer='Conv2d'),)
    convert = staticmethod(convert_resnet38d_keys)
    frozen = ('conv1a', 'b2', 'b2_1', 'b2_2')

    def __init__(self, dropout: tuple[float, float] = (.2, .2), out_indices: Sequence[int] = (3,),
                 base_channels: int = 64, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        if not set(out_indices) <= {0, 1, 2, 3}:
            raise ConfigError(f'ResNet38d: out_indices={tuple(out_indices)}', expected='some of 0, 1, 2, 3')
        self.out_indices = tuple(out_indices)
        w = base_channels
        self.conv1a = nn.Conv2d(3, w, 3, padding=1, bias=False)
        self.blocks: list[str] = []   # their names, in order
        self._add('b2', BasicBlock38(w, 2 * w, 2 * w, 2), *[BasicBlock38(2 * w, 2 * w, 2 * w) for _ in range(2)])
        self._add('b3', BasicBlock38(2 * w, 4 * w, 4 * w, 2), *[BasicBlock38(4 * w, 4 * w, 4 * w) for _ in range(2)])
        self._add('b4', BasicBlock38(4 * w, 8 * w, 8 * w, 2), *[BasicBlock38(8 * w, 8 * w, 8 * w) for _ in range(5)])
        self._add('b5', BasicBlock38(8 * w, 8 * w, 16 * w, dilations=(1, 2)),
                  *[BasicBlock38(16 * w, 8 * w, 16 * w, dilations=(2, 2)) for _ in range(2)])
        self._add('b6', BottleneckBlock38(16 * w, 32 * w, 4, dropout[0]))
        self._add('b7', BottleneckBlock38(32 * w, 64 * w, 4, dropout[1]))
        self.bn7 = nn.BatchNorm2d(64 * w)
        for name in self.frozen:
            getattr(self, name).requires_grad_(False)
        for norm in self._norms():
            norm.requires_grad_(False)

    def _add(self, stage: str, *blocks: nn.Module) -> None:
        for i, block in enumerate(blocks):
            self.add_module(f'{stage}_{i}' if i else stage, block)
            self.blocks.append(f'{stage}_{i}' if i else stage)

    def _norms(self) -> list[nn.Module]:
        return [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    def train(self, mode: bool = True) -> ResNet38d:
        """As in torch, except for the batch norms, which stay in evaluation mode."""
        super().train(mode)
        for norm in self._norms():
            norm.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``(N, 3, H, W)`` -> the chosen maps, at stride 8, non-negative."""
        maps = []
        x = self.conv1a(x)
        for name in self.blocks:
            block = getattr(self, name)
            opened = block.open(x)
            if name in ('b5', 'b6', 'b7'):
                maps.append(opened)
            x = block(x, opened)
        maps.append(F.relu(self.bn7(x), inplace=True))
        return tuple(maps[i] for i in self.out_indices)
