"""What all pooling heads share: the classification layer, class maps, the image-level loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from wsss_mm.errors import ConfigError


class BasePoolingHead(BaseModule):
    """A 1x1 classification layer without bias, and a way of pooling that a subclass gives in :meth:`forward`.

    Args:
        num_classes: Foreground classes C.
        in_channels: Channels D of the map.
        in_index: Which of the backbone's maps.
        loss_weight: Factor of the loss.
        has_background: Give background a weight row of its own, row 0.
        init_cfg: Default: normal, standard deviation 0.01.
    """

    def __init__(self, num_classes: int, in_channels: int, in_index: int = -1, loss_weight: float = 1.,
                 has_background: bool = False, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg or dict(type='Normal', layer='Conv2d', std=.01))
        self.num_classes = num_classes
        self.in_index = in_index
        self.loss_weight = loss_weight
        self.has_background = has_background
        self.classifier = nn.Conv2d(in_channels, num_classes + has_background, 1, bias=False)

    @property
    def weight_matrix(self) -> Tensor:
        """Classifier weights ``(C, D)``, or ``(C + 1, D)`` with background first."""
        return self.classifier.weight.flatten(1)

    @property
    def class_weights(self) -> Tensor:
        """Classifier weights ``(C, D)`` of the foreground classes."""
        return self.weight_matrix[int(self.has_background):]

    def select(self, feats: Sequence[Tensor]) -> Tensor:
        """The map ``(N, D, h, w)`` this head works on.

        Raises:
            ConfigError: a bare tensor instead of a tuple, or a map of another width.
        """
        if isinstance(feats, Tensor):
            raise ConfigError('the backbone returned a tensor', expected='a tuple of maps')
        feature_map = feats[self.in_index]
        if feature_map.shape[1] != self.classifier.in_channels:
            raise ConfigError(f'{type(self).__name__}: in_channels={self.classifier.in_channels}, but map '
                              f'{self.in_index} of the backbone has {feature_map.shape[1]} channels',
                              fix=f'set in_channels={feature_map.shape[1]} or another in_index')
        return feature_map

    def class_maps(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits ``(N, C, h, w)``, background not among them."""
        return F.conv2d(self.select(feats), self.class_weights[:, :, None, None])

    @abstractmethod
    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """The backbone's maps -> image logits ``(N, C)``."""

    def loss(self, feats: Sequence[Tensor], data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Multi-label soft-margin loss against the image tags ``gt_label`` ``(C,)``.

        Raises:
            ConfigError: a sample without tags.
        """
        for sample in data_samples:
            if 'gt_label' not in sample:
                raise ConfigError('a sample has no `gt_label`', expected='multi-hot image tags (C,)',
                                  fix='put LoadWeakLabels and PackWeakInputs in the pipeline')
        logits = self(feats)
        target = torch.stack([sample.gt_label for sample in data_samples]).to(logits)
        return dict(loss_cls=self.loss_weight * F.multilabel_soft_margin_loss(logits, target))

    def predict(self, feats: Sequence[Tensor], data_samples: Sequence[SegDataSample] | None = None
                ) -> list[SegDataSample]:
        """The samples with ``pred_label``, the sigmoid ``(C,)`` of the image logits."""
        scores = self(feats).sigmoid()
        samples = [SegDataSample() for _ in scores] if data_samples is None else list(data_samples)
        for sample, score in zip(samples, scores, strict=True):
            sample.set_data(dict(pred_label=score))
        return samples
