"""Mask head that learns from masks with ignored pixels and grows what they are sure of."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures.mask import BitmapMasks, mask_target
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.losses.region_growing import grow_seeds
from wsss_mm.registry import MODELS

GROWING = ('neighbour', 'connected', None)
IGNORED = 2


@torch.no_grad()
def grow_masks(sure: Tensor, maybe: Tensor, probabilities: Tensor, rule: str | None = 'neighbour',
               threshold: float = .9) -> tuple[Tensor, Tensor]:
    """Which pixels of each RoI count as object and which as background.

    Seeds are the sure object pixels and those that are not even maybe object. All other pixels are ignored, unless
    the prediction is confident of them: above ``threshold`` as object, below ``1 - threshold`` as background. A seed
    never changes sides.

    ``'neighbour'``, the published code: every confident pixel joins; then a pixel stays if one of its eight
    neighbours is in the same set. So islands far from any seed join, and seeds of one pixel alone are dropped.
    ``'connected'``, as the dissertation names it (Huang et al., 2018): a confident pixel joins if a path of such
    pixels leads to a seed of its set; seeds always stay. See :func:`~wsss_mm.models.losses.region_growing.grow_seeds`.
    None: the seeds.

    Cost: RoI by RoI and pixel by pixel, 784 visits of eight neighbours each and RoI. ``'neighbour'`` is one
    convolution of 2 n maps; ``'connected'`` labels all maps in one call on the CPU, O(n h w), which is also the floor.

    Args:
        sure: ``(n, h, w)`` bool, pixels of the object.
        maybe: ``(n, h, w)`` bool, ``sure`` and ignored pixels.
        probabilities: ``(n, h, w)``, of the object.
        rule: ``'neighbour'``, ``'connected'`` or None.
        threshold: .5 to 1.

    Returns:
        Object and background, ``(n, h, w)`` bool each, disjoint.
    """
    background = ~maybe
    if rule is None or not len(sure):
        return sure, background
    if rule == 'connected':
        cues = torch.stack([background, sure], 1)
        both = torch.stack([1 - probabilities, probabilities], 1)
        grown = grow_seeds(cues, both, cues.new_ones(cues.shape[:2]), threshold, threshold)
        return grown[:, 1], grown[:, 0]
    sets = torch.stack([sure | (probabilities > threshold) & maybe,
                        background | (probabilities < 1 - threshold) & ~sure])
    around = sets.new_ones(1, 1, 3, 3, dtype=torch.float32)
    around[..., 1, 1] = 0
    neighbours = F.conv2d(sets.flatten(0, 1)[:, None].float(), around, padding=1)[:, 0].view_as(sets)
    grown, grown_background = sets & (neighbours > 0)
    return grown, grown_background


def ignoring_mask_loss(logits: Tensor, positive: Tensor, negative: Tensor, balanced: bool = True) -> Tensor:
    """Binary cross-entropy over the pixels of two sets; others have a gradient of 0.

    ``balanced``: half the mean over all object pixels of the batch and half that over all background pixels, and 0
    where either set is empty, as the published code has it. Else the mean over all pixels of both sets.

    Args:
        logits: ``(n, h, w)`` of each RoI's class.
        positive, negative: ``(n, h, w)`` bool, disjoint.
        balanced: See above.

    Returns:
        A scalar; 0 with a gradient of 0 where nothing counts.
    """
    losses = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction='none')
    if not balanced:
        used = positive | negative
        return losses.masked_fill(~used, 0).sum() / used.sum().clamp_min(1)
    counts = torch.stack([positive.sum(), negative.sum()])
    sums = torch.stack([losses.masked_fill(~which, 0).sum() for which in (positive, negative)])
    return (sums / counts.clamp_min(1)).mean() * (counts > 0).all()


@MODELS.register_module()
class IgnoreFCNMaskHead(FCNMaskHead):
    """mmdet's ``FCNMaskHead`` for pseudo masks of 0 background, 1 object and 2 ignored pixels (BBAM, section 5.3).

    Masks come from :class:`~wsss_mm.datasets.detection.LoadInstanceLabels`; of plain masks it learns as well. An
    RoI's targets are cropped twice, the object and the object with its ignored pixels, since a bilinear crop of three
    values would mix them. Growing has no warm-up: it grows with the predictions. With ``grow=None``,
    ``balanced=False`` and nothing ignored, the loss is the parent's. ``used_mask_pixels`` is logged, the share of
    pixels that counts.

    The published code also trains on the sure objects alone where its two files of masks differ in their number; here
    both are one mask.

    Args:
        grow: ``'neighbour'`` (published code), ``'connected'`` (dissertation) or None; :func:`grow_masks`.
        grow_threshold: Probability above which a pixel is confident.
        balanced: :func:`ignoring_mask_loss`.
        kwargs: As of ``FCNMaskHead``. Of ``loss_mask`` the weight counts.

    Raises:
        ConfigError: no such rule or threshold, or another loss than the masks' binary cross-entropy.
    """

    def __init__(self, *args: Any, grow: str | None = 'neighbour', grow_threshold: float = .9, balanced: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if grow not in GROWING:
            raise ConfigError(f'IgnoreFCNMaskHead: grow={grow!r}', expected=f'one of {GROWING}')
        if not .5 <= grow_threshold <= 1:
            raise ConfigError(f'IgnoreFCNMaskHead: grow_threshold={grow_threshold}', expected='.5 to 1')
        if not getattr(self.loss_mask, 'use_mask', False):
            raise ConfigError(f'IgnoreFCNMaskHead: loss_mask is {type(self.loss_mask).__name__}',
                              expected="dict(type='CrossEntropyLoss', use_mask=True, loss_weight=…)")
        self.grow, self.grow_threshold, self.balanced = grow, grow_threshold, balanced

    def get_targets(self, sampling_results: list, batch_gt_instances: list, rcnn_train_cfg: Any) -> Tensor:
        """Targets of the positive RoIs, image by image.

        Returns:
            ``(n, h, w)`` float: 0 background, 1 object, 2 ignored.

        Raises:
            ConfigError: masks that are polygons.
        """
        masks = [instances.masks for instances in batch_gt_instances]
        if not all(isinstance(m, BitmapMasks) for m in masks):
            raise ConfigError('IgnoreFCNMaskHead: masks are polygons', expected='bitmaps',
                              fix="dict(type='wsss_mm.LoadInstanceLabels') in the training pipeline")
        boxes = [result.pos_priors for result in sampling_results]
        assigned = [result.pos_assigned_gt_inds for result in sampling_results]
        sure, maybe = (
            mask_target(boxes, assigned, [BitmapMasks(which(m.masks).astype('uint8'), m.height, m.width)
                                          for m in masks], rcnn_train_cfg)
            for which in (lambda values: values == 1, lambda values: values >= 1))
        return torch.where(maybe > sure, IGNORED, sure)

    def loss_and_target(self, mask_preds: Tensor, sampling_results: list, batch_gt_instances: list,
                        rcnn_train_cfg: Any) -> dict:
        """Loss of the positive RoIs.

        Args:
            mask_preds: ``(n, C, h, w)`` logits, C = 1 where ``class_agnostic``.
            sampling_results, batch_gt_instances, rcnn_train_cfg: As of ``FCNMaskHead``.

        Returns:
            ``loss_mask`` (a dict of what is logged) and ``mask_targets``.
        """
        targets = self.get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        if not len(mask_preds):
            zero = mask_preds.sum() * 0
            return dict(loss_mask=dict(loss_mask=zero, used_mask_pixels=zero.detach()), mask_targets=targets)
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        columns = torch.zeros_like(labels) if self.class_agnostic else labels
        logits = mask_preds[torch.arange(len(columns), device=columns.device), columns].float()
        positive, negative = grow_masks(targets == 1, targets > 0, logits.sigmoid(), self.grow, self.grow_threshold)
        loss = self.loss_mask.loss_weight * ignoring_mask_loss(logits, positive, negative, self.balanced)
        used = (positive | negative).float().mean()
        return dict(loss_mask=dict(loss_mask=loss, used_mask_pixels=used), mask_targets=targets)
