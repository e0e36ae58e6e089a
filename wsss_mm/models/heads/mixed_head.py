"""One classification layer for images with tags, with boxes and with masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.errors import DataError
from wsss_mm.models.heads import background_aware_pooling as bap
from wsss_mm.models.heads.bap_head import BAPHead
from wsss_mm.models.heads.base import BasePoolingHead, full_precision
from wsss_mm.registry import MODELS

KINDS = ('tags', 'boxes', 'masks')


def kind_of(sample: SegDataSample) -> str:
    """``'masks'`` for a sample with ``gt_sem_seg``, else ``'boxes'`` with ``gt_instances``, else ``'tags'``."""
    return 'masks' if 'gt_sem_seg' in sample else 'boxes' if 'gt_instances' in sample else 'tags'


@MODELS.register_module()
class MixedHead(BAPHead):
    """Learns from each image by what it carries, with one weight matrix (background first).

    * Tags: the mean of each class map is the image's logit; multi-label soft margin, as of ``GAPHead``.
    * Boxes: background-aware pooling, as of ``BAPHead``.
    * Masks: the same without a guess. Where BAP estimates how much of a box's cells is object, a mask says it: the
      features of each class are averaged by the share of its pixels in the cells, those of cells that are background
      throughout over BAP's grid, and both are classified as BAP's vectors are.

    Each kind's loss is the mean over its own images or vectors, times the kind's share of the images of the batch,
    times its weight. So images of a kind count alike whatever batch they come in, and a batch of one kind gives the
    loss of the head made for it. The image's logits, of ``predict`` and Grad-CAM, are the means.

    Args:
        num_classes, in_channels: As of :class:`BAPHead`, and so are all of ``kwargs``.
        tag_weight, box_weight, mask_weight: Of the kinds.
    """

    def __init__(self, num_classes: int, in_channels: int, tag_weight: float = 1., box_weight: float = 1.,
                 mask_weight: float = 1., **kwargs: Any) -> None:
        super().__init__(num_classes, in_channels, **kwargs)
        self.weights = dict(tags=tag_weight, boxes=box_weight, masks=mask_weight)

    def logits(self, feature_map: Tensor) -> Tensor:
        """Image logits ``(N, C)``: the means of the class maps."""
        return F.linear(feature_map.mean((2, 3)), self.class_weights)

    def loss(self, feats: Sequence[Tensor], data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """``loss_cls`` of the images with tags alone, ``loss_bap`` of those with boxes, ``loss_region`` of those with
        masks; 0 with a gradient where the batch has none of a kind.

        Raises:
            ConfigError: samples without tags, or with boxes but without ``gt_bg_mask``.
            DataError: a mask of a class that the head has not.
        """
        zero = self.select(feats)[:0].float().sum()
        rows: dict[str, list[int]] = {kind: [] for kind in KINDS}
        for i, sample in enumerate(data_samples):
            rows[kind_of(sample)].append(i)
        losses: dict[str, Tensor] = {}
        for kind, name, loss in (('tags', 'loss_cls', self._loss_of_tags), ('boxes', 'loss_bap', self._loss_of_boxes),
                                 ('masks', 'loss_region', self._loss_of_masks)):
            own = rows[kind]
            found = loss(self._part(feats, own), [data_samples[i] for i in own]) if own else zero
            losses[name] = self.weights[kind] * (len(own) / len(data_samples)) * found
        return losses

    def _part(self, feats: Sequence[Tensor], rows: list[int]) -> Sequence[Tensor]:
        """The backbone's maps, of these images in the one that the head works on."""
        feature_map = feats[self.in_index]
        if len(rows) == len(feature_map):
            return feats
        part = list(feats)
        part[self.in_index] = feature_map[torch.tensor(rows).to(feature_map.device, non_blocking=True)]
        return part

    def _loss_of_tags(self, feats: Sequence[Tensor], samples: Sequence[SegDataSample]) -> Tensor:
        return BasePoolingHead.loss(self, feats, samples)['loss_cls']

    def _loss_of_boxes(self, feats: Sequence[Tensor], samples: Sequence[SegDataSample]) -> Tensor:
        return super().loss(feats, samples)['loss_bap']

    def _loss_of_masks(self, feats: Sequence[Tensor], samples: Sequence[SegDataSample]) -> Tensor:
        features = self.select(feats)
        labels = torch.cat([sample.gt_sem_seg.data for sample in samples]).to(features.device)
        with torch.autocast(features.device.type, enabled=False):
            features = full_precision(features)
            regions, target = class_regions(features, labels, self.num_classes)
            # cells that are background to the last pixel
            others = cell_shares(labels != 0, features)
            queries, valid = bap.background_queries(features, others == 0, self.grid_size)
            if self.background_queries:
                regions = torch.cat([regions, queries[valid]])
                target = torch.cat([target, target.new_zeros(len(regions) - len(target))])
            logits = regions @ self.weight_matrix.to(features.dtype).T
            # A sum over a number that may be none, as in BAPHead.
            loss = F.cross_entropy(logits, target, reduction='sum') / max(len(target), 1)
        return self.loss_weight * loss


def class_regions(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mean feature of each class of each mask, cells weighted by the share of the class's pixels in them.

    Args:
        features: ``(N, D, h, w)``.
        labels: ``(N, H, W)`` segmentation ids, 255 where ignored.
        num_classes: Foreground classes C.

    Returns:
        Vectors ``(R, D)`` of the classes present, image by image, and their segmentation ids ``(R,)``.

    Raises:
        DataError: a mask of another class.
    """
    present = labels.new_zeros(len(labels), 256, dtype=torch.bool).scatter_(1, labels.flatten(1), True)
    image, ids = present[:, 1:255].nonzero().unbind(1)
    ids = ids + 1
    if len(ids) and ids.max() > num_classes:
        raise DataError(f'a mask of class {int(ids.max())}, the head has {num_classes}',
                        fix=f'set num_classes={int(ids.max())}, or use another data set')
    share = cell_shares(labels[image] == ids[:, None, None], features).flatten(1)
    share = share / share.sum(1, keepdim=True)
    return torch.bmm(share[:, None], features[image].flatten(2).transpose(1, 2))[:, 0], ids


def cell_shares(chosen: Tensor, features: Tensor) -> Tensor:
    """Share of chosen pixels in each cell of a map, as 'area' resizing has it.

    Args:
        chosen: ``(R, H, W)`` bool.
        features: The map ``(N, D, h, w)``, for its size and type.

    Returns:
        ``(R, h, w)``.
    """
    height, width = features.shape[2:]
    return F.adaptive_avg_pool2d(chosen.to(features.dtype)[:, None], (height, width))[:, 0]
