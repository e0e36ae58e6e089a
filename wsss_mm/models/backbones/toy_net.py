"""A small residual network for toy VOC, trained from scratch on a CPU in minutes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.backbones.pretrained import CheckedPretrained
from wsss_mm.registry import MODELS


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm, and a projection where the shape changes.

    Args:
        in_channels, out_channels: Widths.
        stride: Of the first convolution.
        kernel_size: 1 or 3, of both.
        dilation: Of both.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, kernel_size: int = 3,
                 dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size, 1, padding, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if in_channels != out_channels or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                                            nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


@MODELS.register_module()
class ToyNet(CheckedPretrained):
    """Stem (5x5 convolution and max pool, stride 4) and three residual stages; 0.2 M parameters.

    It works in channels-last memory, which is what CPU convolutions are fastest in.

    Args:
        channels: Widths of the stem and of the stages; the last two share theirs.
        output_stride: 2, 4 or 8. The weights are the same: at 2 the stem's pool does not stride, and convolutions
            behind it are dilated by 2, so every second value of a map is that of stride 4.
        last_kernel: 1 or 3, kernel of the last stage. 1 keeps the receptive field small, so that a class map must
            find the object and not its surroundings.
        last_dilations: Dilation of each block of the last stage; as many blocks as entries.
        out_indices: Stages to return, from 0, 1, 2.
        norm_eval: In training too, batch norms use their running statistics and leave them as they are, as those of
            pretrained networks do.
        contiguous: Maps are channels-first in memory, for detectors: RoIAlign of mmcv 2.1.0 misreads others.
        init_cfg: A checkpoint whose last stage is of another shape leaves that stage at its initialisation.

    Raises:
        ConfigError: an output stride or a stage that there is none of.
    """

    optional_parts = ('layer3.',)

    def __init__(self, channels: Sequence[int] = (32, 64, 96), output_stride: int = 4, last_kernel: int = 1,
                 last_dilations: Sequence[int] = (1,), out_indices: Sequence[int] = (2,),
                 norm_eval: bool = False, contiguous: bool = False,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        if output_stride not in (2, 4, 8):
            raise ConfigError(f'ToyNet: output_stride={output_stride}', expected='2, 4 or 8')
        dense = 2 if output_stride == 2 else 1
        if not set(out_indices) <= {0, 1, 2}:
            raise ConfigError(f'ToyNet: out_indices={tuple(out_indices)}', expected='some of 0, 1, 2')
        stem, first, last = channels
        self.out_indices, self.norm_eval, self.contiguous = tuple(out_indices), norm_eval, contiguous
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 5, 2, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True),
                                  nn.MaxPool2d(3, 2 // dense, 1))
        self.layer1 = ResidualBlock(stem, first, dilation=dense)
        self.layer2 = ResidualBlock(first, last, stride=max(output_stride // 4, 1), dilation=dense)
        self.layer3 = nn.Sequential(*[ResidualBlock(last, last, kernel_size=last_kernel, dilation=dilation * dense)
                                      for dilation in last_dilations])
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> ToyNet:
        """As in torch, but for ``norm_eval``."""
        super().train(mode)
        for module in self.modules() if self.norm_eval else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``(N, 3, H, W)`` -> the chosen stages' maps, the first's stride at most 4, the others' ``output_stride``."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            outputs.append(x.contiguous() if self.contiguous else x)
        return tuple(outputs[i] for i in self.out_indices)
