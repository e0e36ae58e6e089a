"""A decode head beside the classifier, for the images that carry masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.objectives.base import Objective
from wsss_mm.registry import MODELS

if TYPE_CHECKING:
    from wsss_mm.models.classifiers import CAMClassifier


@MODELS.register_module()
class SegmentationBranch(Objective):
    """Trains a decode head of MMSegmentation on the classifier's features, from the images with ``gt_sem_seg`` alone.

    In a batch without any, the head still sees one image, all of it ignored, and its losses count 0: so every rank runs
    the same layers (synchronised batch norm waits for all), gives the same keys, and has a gradient for every weight.

    Args:
        decode_head: Any decode head; ``num_classes`` with the background, ``in_index`` and ``in_channels`` of the
            classifier's maps.
        loss_weight: Factor of its losses, each the mean over the images with masks.
        begin: Iterations of training before it starts.

    Attributes:
        images_seen: Images with masks that it has learnt from, kept in the checkpoint; 0 tells an untrained branch.
    """

    images_seen: Tensor

    def __init__(self, decode_head: dict, loss_weight: float = 1., begin: int = 0) -> None:
        super().__init__(begin=begin)
        self.decode_head = MODELS.build(decode_head)
        self.loss_weight = loss_weight
        self.register_buffer('images_seen', torch.zeros((), dtype=torch.int64))

    def loss(self, classifier: CAMClassifier, inputs: Tensor, feats: Sequence[Tensor],
             data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """The decode head's losses and log entries as ``branch.<name>``.

        Raises:
            ConfigError: the decode head has another number of classes than the classifier and the background.
        """
        if not self.active():
            return {}
        if self.decode_head.num_classes != classifier.head.num_classes + 1:
            raise ConfigError(f'SegmentationBranch: decode_head.num_classes={self.decode_head.num_classes}, the '
                              f'classifier has {classifier.head.num_classes}',
                              fix=f'set decode_head.num_classes={classifier.head.num_classes + 1}: the background too')
        masked = [i for i, sample in enumerate(data_samples) if 'gt_sem_seg' in sample]
        samples = [data_samples[i] for i in masked] or [self._ignored(inputs)]
        chosen = torch.tensor(masked or [0]).to(inputs.device, non_blocking=True)
        found = self.decode_head.loss(tuple(f[chosen] for f in feats), samples, None)
        self.images_seen += len(masked)
        weight = self.loss_weight * bool(masked)
        return {f'branch.{name}': weight * value if 'loss' in name else value for name, value in found.items()}

    def logits(self, feats: Sequence[Tensor]) -> Tensor:
        """The classifier's maps -> logits ``(N, C + 1, h, w)``, background first."""
        return self.decode_head(tuple(feats))

    def _ignored(self, inputs: Tensor) -> SegDataSample:
        labels = torch.full((1, *inputs.shape[2:]), self.decode_head.ignore_index, device=inputs.device)
        return SegDataSample(gt_sem_seg=PixelData(data=labels))
