"""Background-aware pooling (BAP), the pooling head of BANA's first stage (Oh et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads import background_aware_pooling as bap
from wsss_mm.models.heads.base import BasePoolingHead
from wsss_mm.registry import MODELS

_IGNORED = -100


@MODELS.register_module()
class BAPHead(BasePoolingHead):
    """Pools the foreground of each box by how unlike the image's definite background it is.

    Each box gives OH·OW vectors labelled with its class, each grid cell that has definite background one vector
    labelled 0; the loss is the plain mean of their cross-entropies. Weight row 0 is background, 1…C the classes.

    Args:
        num_classes: Foreground classes C.
        in_channels: Channels D of the map.
        in_index: Which of the backbone's maps.
        grid_size: The grid of background queries has this many cells in each direction.
        roi_size: ``(OH, OW)`` windows per box; the paper writes one vector per box, its code pools 2 x 2.
        attention: False gives all samples the same weight, i.e. average pooling.
        background_queries: False leaves the background vectors out of the loss.
        align_mode: ``'official'`` or ``'aligned'``, see
            :func:`~wsss_mm.models.heads.background_aware_pooling.sample_points`.
        min_bg_fraction: Images with no more definite background than this are average-pooled.
        min_visible: Boxes with a side below this many pixels are left out (the official code trains on slivers).
        detach_attention: Keep the gradient out of the weights (the official code does not).
        loss_weight: Factor of the loss.
        init_cfg: Default: normal, standard deviation 0.01.

    Raises:
        ConfigError: an unknown ``align_mode``.
    """

    averages = True  # as a classifier of images; the loss pools otherwise

    def __init__(self, num_classes: int, in_channels: int, in_index: int = -1, grid_size: int = 4,
                 roi_size: Sequence[int] = (2, 2), attention: bool = True, background_queries: bool = True,
                 align_mode: str = 'official', min_bg_fraction: float = .125, min_visible: float = 0.,
                 detach_attention: bool = False, loss_weight: float = 1.,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(num_classes, in_channels, in_index, loss_weight, has_background=True, init_cfg=init_cfg)
        if align_mode not in ('official', 'aligned'):
            raise ConfigError(f'BAPHead: align_mode={align_mode!r}', expected="'official' or 'aligned'")
        self.grid_size = grid_size
        self.roi_size = tuple(roi_size)
        self.attention = attention
        self.background_queries = background_queries
        self.align_mode = align_mode
        self.min_bg_fraction = min_bg_fraction
        self.min_visible = min_visible
        self.detach_attention = detach_attention

    def logits(self, feature_map: Tensor) -> Tensor:
        """Image logits ``(N, C)``: the largest value of each class map."""
        return self.project(feature_map).amax((2, 3))

    def loss(self, feats: Sequence[Tensor], data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Cross-entropy of the pooled boxes and the background queries, from ``gt_instances`` and ``gt_bg_mask``.

        Returns:
            ``loss_bap``; for the log ``acc_fg`` and ``acc_bg``, per cent right.

        Raises:
            ConfigError: samples without boxes or masks, or masks that are not of the batch's size.
        """
        masks, boxes, labels, counts = _weak_labels(data_samples)
        features = self.select(feats)
        with torch.autocast(features.device.type, enabled=False):  # cosines and 1 - A need float32
            features = features if features.dtype == torch.float64 else features.float()
            # One copy here; every step below reads whole feature vectors, and sees views of it.
            features = features.contiguous(memory_format=torch.channels_last)
            pooled, queries, valid = self.pool(features, masks, boxes, counts)
            logits = torch.cat([pooled, queries]) @ self.weight_matrix.to(features.dtype).T
            seen = (boxes[:, 2:] - boxes[:, :2] >= self.min_visible).all(1)
            target = torch.where(seen, labels + 1, _IGNORED).repeat_interleave(self.roi_size[0] * self.roi_size[1])
            target = torch.cat([target, torch.where(valid, 0, _IGNORED)])
            counted = target != _IGNORED
            # A sum over a number that may be none: a batch without box and background gives 0, not 0/0.
            loss = F.cross_entropy(logits, target, ignore_index=_IGNORED, reduction='sum') / counted.sum().clamp_min(1)
        right = logits.detach().argmax(1) == target

        def accuracy(rows: Tensor) -> Tensor:
            return 100. * (right & rows).sum() / rows.sum().clamp_min(1)

        return dict(loss_bap=self.loss_weight * loss, acc_fg=accuracy(counted & (target > 0)),
                    acc_bg=accuracy(target == 0))

    def pool(self, features: Tensor, masks: Tensor, boxes: Tensor, boxes_per_image: list[int]
             ) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of the boxes and of the background.

        Args:
            features: ``(N, D, h, w)``.
            masks: ``(N, H, W)``, 1 = definite background, at the size of the network input.
            boxes: ``(K, 4)`` in pixels of the network input, in the order of the images.
            boxes_per_image: N numbers.

        Returns:
            Foreground vectors ``(K·O, D)``, box-major; queries ``(N·J, D)`` and ``(N·J,)`` bool: the cell counts.
            No queries where ``background_queries`` is off.
        """
        background = masks == 1
        queries, valid = bap.background_queries(
            features, bap.resize_mask(background, features.shape[2:], self.align_mode), self.grid_size)
        image_index = bap.box_images(boxes_per_image).to(features.device, non_blocking=True)
        points = bap.sample_points(boxes, image_index, masks.shape[1:], features.shape[2:], self.align_mode,
                                   features.dtype)
        if self.attention:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_attention):
                attention = bap.background_attention(features, queries, valid, points)
                enough = background.flatten(1).float().mean(1) > self.min_bg_fraction
                weights = (1 - attention * enough[points.image]).clamp_min(bap.WEIGHT_FLOOR)
        else:
            weights = features.new_ones(len(points.box))
        pooled = bap.pool_windows(features, weights, points, boxes_per_image, self.roi_size)
        kept = slice(None) if self.background_queries else slice(0)
        return pooled.flatten(0, 1), queries.flatten(0, 1)[kept], valid.flatten()[kept]


def _weak_labels(data_samples: Sequence[SegDataSample]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Masks ``(N, H, W)``, boxes ``(K, 4)``, class indices ``(K,)`` and the number of boxes of each image."""
    for sample in data_samples:
        for field in ('gt_instances', 'gt_bg_mask'):
            if field not in sample:
                raise ConfigError(f'BAPHead: a sample has no `{field}`', expected='boxes, and the mask outside them',
                                  fix='put LoadWeakLabels and PackWeakInputs in the pipeline, in a data set with boxes')
    masks = [sample.gt_bg_mask.data.squeeze(0) for sample in data_samples]
    if len({mask.shape for mask in masks}) > 1:
        raise ConfigError(f'BAPHead: masks of sizes {sorted({tuple(mask.shape) for mask in masks})} in one batch',
                          expected='masks padded to the size of the batch',
                          fix="data_preprocessor=dict(type='wsss_mm.WeakSegDataPreProcessor', size=…)")
    instances = [sample.gt_instances for sample in data_samples]
    return (torch.stack(masks), torch.cat([i.bboxes for i in instances]), torch.cat([i.labels for i in instances]),
            [len(i.bboxes) for i in instances])
