"""What networks for affinities between neighbouring pixels share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import MODELS


class BaseAffinityModel(BaseModel):
    """A backbone and branches that learn from label maps with ignored pixels whether two neighbours belong together.

    Args:
        backbone: Config of any backbone; it gives the maps of all its ``out_indices``.
        data_preprocessor: Config of the data preprocessor.
        num_classes: Classes without the background; ids above are ignored.
        init_cfg: mmengine's.
    """

    def __init__(self, backbone: dict, data_preprocessor: dict | None = None, num_classes: int = 20,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.num_classes = num_classes

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> Any:
        """mmengine's entry.

        Args:
            inputs: ``(N, 3, H, W)``, normalised.
            data_samples: With ``gt_sem_seg``, a label map of the input's size, 255 where it is not sure.
            mode: ``'loss'``, a dict of losses; ``'tensor'`` or ``'predict'``, what :meth:`predict` gives.

        Raises:
            DataError: no label map in training.
        """
        if mode != 'loss':
            return self.predict(inputs)
        return self.loss(inputs, self.labels_of(data_samples or []))

    def labels_of(self, data_samples: list) -> Tensor:
        """``(N, H, W)`` label maps of a batch; ids that are no class become 255.

        Raises:
            DataError: a sample has none.
        """
        for sample in data_samples:
            if 'gt_sem_seg' not in sample:
                raise DataError('no label map to learn affinities from', file=sample.metainfo.get('img_path'),
                                expected='gt_sem_seg', fix='put LoadLabelMaps into the pipeline, and label_dirs into '
                                'the dataset')
        if not data_samples:
            raise ConfigError('a loss without data samples')
        labels = torch.stack([sample.gt_sem_seg.data for sample in data_samples]).squeeze(1).long()
        return labels.where(labels <= self.num_classes, 255)

    @abstractmethod
    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: ``(N, 3, H, W)``.
            labels: ``(N, H, W)`` segmentation ids, 255 ignored.
        """

    @abstractmethod
    def predict(self, inputs: Tensor) -> dict[str, Tensor]:
        """Maps at the network's stride, by name, ``(N, …, h, w)``; what the walk is made of."""
