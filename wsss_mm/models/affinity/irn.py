"""IRNet: class boundaries and displacements to the centre (Ahn, Cho, Kwak, CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity.base import BaseAffinityModel
from wsss_mm.models.affinity.irn_losses import irn_losses, nearest_labels
from wsss_mm.registry import MODELS


class Projection(nn.Module):
    """1x1 convolution without bias, group norm, enlarging, ReLU.

    Args:
        in_channels, out_channels: Widths.
        groups: Of the norm.
        factor: By which the map is enlarged, bilinearly.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int, factor: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.GroupNorm(groups, out_channels)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        if self.factor != 1:
            x = F.interpolate(x, scale_factor=self.factor, mode='bilinear', align_corners=False)
        return x.relu()


def join(maps: Sequence[Tensor]) -> Tensor:
    """Concatenate maps, cut at the right and below to the first one's size.

    Raises:
        ConfigError: a map that is smaller.
    """
    size = maps[0].shape[2:]
    for x in maps:
        if x.shape[2] < size[0] or x.shape[3] < size[1]:
            raise ConfigError(f'IRNet: a level of {tuple(x.shape[2:])} for maps of {tuple(size)}',
                              expected="strides in `levels` that are the backbone's")
    return torch.cat([x[..., :size[0], :size[1]] for x in maps], 1)


class BoundaryBranch(nn.Module):
    """Logit of a class boundary from maps of several levels.

    Args:
        levels: As of :class:`IRNet`.
    """

    def __init__(self, levels: Sequence[dict]) -> None:
        super().__init__()
        base = levels[0]['stride']
        widths = [level.get('boundary_channels', 32) for level in levels]
        self.project = nn.ModuleList(
            Projection(level['in_channels'], width, level.get('boundary_groups', 4), level['stride'] // base)
            for level, width in zip(levels, widths, strict=True))
        self.predict = nn.Conv2d(sum(widths), 1, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Maps of the levels -> ``(N, 1, h, w)``."""
        return self.predict(join([project(x) for project, x in zip(self.project, feats, strict=True)]))


class DisplacementBranch(nn.Module):
    """Displacement to the object's centre, in pixels of the map; levels of larger strides than the first's are joined
    by themselves first, at the smallest of these.

    Args:
        levels: As of :class:`IRNet`.
        channels: Of both joining layers.
        groups: Of their norms.
    """

    def __init__(self, levels: Sequence[dict], channels: int, groups: int) -> None:
        super().__init__()
        base = levels[0]['stride']
        self.deep = [i for i, level in enumerate(levels) if level['stride'] > base]
        self.shallow = [i for i in range(len(levels)) if i not in self.deep]
        deep_base = min((levels[i]['stride'] for i in self.deep), default=base)
        widths = [level.get('displacement_channels', 256) for level in levels]
        self.project = nn.ModuleList(
            Projection(level['in_channels'], width, level.get('displacement_groups', 16),
                       level['stride'] // (deep_base if i in self.deep else base))
            for i, (level, width) in enumerate(zip(levels, widths, strict=True)))
        total = sum(widths[i] for i in self.shallow)
        if self.deep:
            self.join_deep = Projection(sum(widths[i] for i in self.deep), channels, groups, deep_base // base)
            total += channels
        self.join_all = Projection(total, channels, groups)
        self.predict = nn.Conv2d(channels, 2, 1, bias=False)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Maps of the levels -> ``(N, 2, h, w)`` dy, dx."""
        found = [project(x) for project, x in zip(self.project, feats, strict=True)]
        parts = [found[i] for i in self.shallow]
        if self.deep:
            parts.append(self.join_deep(join([found[i] for i in self.deep])))
        return self.predict(self.join_all(join(parts)))


@MODELS.register_module()
class IRNet(BaseAffinityModel):
    """A frozen backbone with a branch for class boundaries and one for displacements.

    The backbone keeps its pretrained weights and runs in eval mode without gradients; only the branches learn.

    Args:
        backbone: Any backbone; as published an ImageNet ResNet-50 with the map of its stem
            (:class:`~wsss_mm.models.ResNetWithStem`).
        levels: For each map that is used ``in_index``, ``in_channels``, ``stride``, and if wanted ``boundary_channels``
            (32), ``boundary_groups`` (4), ``displacement_channels`` (256), ``displacement_groups`` (16). The first has
            the smallest stride, which is the output's, and all strides are multiples of it.
        channels, groups: Width and norm groups of the layers that join the displacement branch.
        radius: Of the search in training.
        pairs: ``'inner'`` as published, or ``'all'``; see :func:`~wsss_mm.models.affinity.paths.source_window`.
        num_classes, data_preprocessor, init_cfg: As of :class:`BaseAffinityModel`.

    Attributes:
        displacement_mean: ``(2,)``, taken off the displacement in :meth:`predict`; 0 until
            :class:`~wsss_mm.engine.DisplacementMeanHook` sets it when the training ends.
        stride: Of what :meth:`predict` gives.

    Raises:
        ConfigError: no level, or strides that do not fit.
    """

    displacement_mean: Tensor

    def __init__(self, backbone: dict, levels: Sequence[dict], channels: int = 256, groups: int = 16, radius: int = 10,
                 pairs: str = 'inner', num_classes: int = 20, data_preprocessor: dict | None = None,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(backbone, data_preprocessor, num_classes, init_cfg)
        if not levels:
            raise ConfigError('IRNet: levels is empty', expected='dict(in_index=…, in_channels=…, stride=…), …')
        self.stride = levels[0]['stride']
        if any(level['stride'] < self.stride or level['stride'] % self.stride for level in levels):
            raise ConfigError(f'IRNet: strides {[level["stride"] for level in levels]}',
                              expected='the smallest first, and multiples of it')
        self.in_indices = [level['in_index'] for level in levels]
        self.radius, self.pairs = radius, pairs
        self.boundary = BoundaryBranch(levels)
        self.displacement = DisplacementBranch(levels, channels, groups)
        self.register_buffer('displacement_mean', torch.zeros(2))
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> IRNet:
        """As in torch; the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def features(self, inputs: Tensor) -> list[Tensor]:
        """The maps of the levels, without gradients."""
        with torch.no_grad():
            feats = self.backbone(inputs)
        return [feats[i] for i in self.in_indices]

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The four parts of :func:`irn_losses`, each with its factor of 1/2."""
        feats = self.features(inputs)
        logits, displacement = self.boundary(feats)[:, 0], self.displacement(feats)
        labels = nearest_labels(labels, tuple(logits.shape[1:]))
        parts = irn_losses(logits.float().sigmoid(), displacement, labels, self.radius, self.num_classes, self.pairs)
        return {f'loss_{name}': value / 2 for name, value in parts.items()}

    def raw_displacement(self, inputs: Tensor) -> Tensor:
        """``(N, 2, h, w)``, before the mean is taken off."""
        return self.displacement(self.features(inputs))

    def predict(self, inputs: Tensor) -> dict[str, Any]:
        """``boundary (N, 1, h, w)`` logits, and ``displacement (N, 2, h, w)`` dy, dx in pixels of the map."""
        feats = self.features(inputs)
        return dict(boundary=self.boundary(feats),
                    displacement=self.displacement(feats) - self.displacement_mean[:, None, None])
