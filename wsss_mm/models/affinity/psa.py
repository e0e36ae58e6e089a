"""AffinityNet of PSA (Ahn and Kwak, CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import kaiming_init, xavier_init
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity.base import BaseAffinityModel
from wsss_mm.models.affinity.pairs import neighbour_offsets
from wsss_mm.models.affinity.psa_loss import affinity_loss, pair_distances, pair_labels, released_sources
from wsss_mm.registry import MODELS


@MODELS.register_module()
class AffinityNet(BaseAffinityModel):
    """Features whose L1 distance says how likely two neighbours are of one class: ``W_ij = exp(-d(f_i, f_j))``.

    Maps of several stages are reduced by a 1x1 convolution each, joined, and mixed by another, all followed by ELU
    (figure 4).

    Args:
        backbone: Config of a backbone whose maps in use have one stride.
        branches: For each map ``dict(in_index=…, in_channels=…, channels=…)``, and ``norm_groups=…`` for a group norm:
            ResNet-38 512, 1024 and 4096 to 64, 128 and 256; the published VGG-16 has group norms of 8, 16 and 32.
        stride: Of these maps; images are padded to its multiples when the affinities are predicted.
        radius: Neighbours are nearer than this, in pixels of the map (γ).
        distance: ``'mean'`` over the channels, as published, or ``'sum'``, as in the paper.
        loss: ``'official'`` or ``'paper'``, see :func:`~wsss_mm.models.affinity.psa_loss.affinity_loss`.
        legacy_pairs: Leave out the pairs at the border that the published code leaves out.
        data_preprocessor, num_classes, init_cfg: As of :class:`BaseAffinityModel`.

    Raises:
        ConfigError: no branches, or an unknown ``distance`` or ``loss``.
    """

    def __init__(self, backbone: dict, branches: Sequence[dict], stride: int = 8, radius: int = 5,
                 distance: str = 'mean', loss: str = 'official', legacy_pairs: bool = False,
                 data_preprocessor: dict | None = None, num_classes: int = 20,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(backbone, data_preprocessor, num_classes, init_cfg)
        if not branches:
            raise ConfigError('AffinityNet without branches',
                              expected='dict(in_index=…, in_channels=…, channels=…) for each map')
        for name, value, known in (('distance', distance, ('mean', 'sum')), ('loss', loss, ('official', 'paper'))):
            if value not in known:
                raise ConfigError(f'AffinityNet: {name}={value!r}', expected=' or '.join(map(repr, known)))
        self.in_indices = [branch['in_index'] for branch in branches]
        self.branches = nn.ModuleList(_branch(**branch) for branch in branches)
        width = sum(branch['channels'] for branch in branches)
        self.embedding = nn.Conv2d(width, width, 1, bias=False)
        self.stride, self.radius, self.distance, self.loss_form = stride, radius, distance, loss
        self.legacy_pairs = legacy_pairs
        self.register_buffer('offsets', neighbour_offsets(radius), persistent=False)

    def init_weights(self) -> None:
        """The backbone by its ``init_cfg``, the branches by Kaiming's rule, the last layer by Xavier's times 4."""
        super().init_weights()
        for layer in (m for m in self.branches.modules() if isinstance(m, nn.Conv2d)):
            kaiming_init(layer, mode='fan_in', nonlinearity='leaky_relu')
        xavier_init(self.embedding, gain=4., distribution='uniform')

    def features(self, inputs: Tensor) -> Tensor:
        """``(N, 3, H, W)`` -> ``(N, D, h, w)``, above -1.

        Raises:
            ConfigError: the backbone's maps in use differ in size.
        """
        maps = self.backbone(inputs)
        chosen = [maps[i] for i in self.in_indices]
        if len({tuple(x.shape[2:]) for x in chosen}) > 1:
            raise ConfigError(f'AffinityNet: maps of {[tuple(x.shape[2:]) for x in chosen]}',
                              expected='stages of one stride', fix='set strides or dilations of the backbone')
        joined = torch.cat([F.elu(branch(x)) for branch, x in zip(self.branches, chosen, strict=True)], 1)
        return F.elu(self.embedding(joined))

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses of the three kinds of pairs; see :meth:`BaseAffinityModel.loss`.

        Labels come to the features' stride by their nearest value, which :class:`~wsss_mm.datasets.transforms.
        PoolConfidentScores` makes that of the whole cell.
        """
        features = self.features(inputs)
        labels = F.interpolate(labels[:, None].float(), features.shape[2:], mode='nearest')[:, 0].long()
        sources = released_sources(features, self.radius) if self.legacy_pairs else None
        distances = pair_distances(features, self.offsets, self.distance)
        return affinity_loss(distances, pair_labels(labels, self.offsets, sources), self.loss_form)

    def predict(self, inputs: Tensor) -> dict[str, Tensor]:
        """``affinity``: ``(N, P, h, w)`` W between neighbours, before any power; right and bottom are padded with zeros
        to multiples of the stride. With ``legacy_pairs`` 0 where the published code has no pair."""
        bottom, right = (-length % self.stride for length in inputs.shape[2:])
        features = self.features(F.pad(inputs, (0, right, 0, bottom)))
        affinity = torch.exp(-pair_distances(features, self.offsets, self.distance))
        if self.legacy_pairs:
            affinity = affinity * released_sources(features, self.radius)
        return dict(affinity=affinity)


def _branch(in_index: int, in_channels: int, channels: int, norm_groups: int | None = None) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 1, bias=False)]
    if norm_groups is not None:
        layers.append(nn.GroupNorm(norm_groups, channels))
    return nn.Sequential(*layers)
