"""GAIN_ext: masks or boxes of a few images tell the attention where to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.heads.base import BasePoolingHead, present_pairs, stack_tags
from wsss_mm.models.objectives.attention import (
    area_resize,
    box_union,
    check_option,
    class_attention,
    l_bbox,
    l_p,
    minmax_normalize,
)
from wsss_mm.models.objectives.base import Objective
from wsss_mm.registry import MODELS

if TYPE_CHECKING:
    from wsss_mm.models.classifiers import CAMClassifier

_UNKNOWN = 255


@MODELS.register_module()
class AttentionSupervision(Objective):
    """``L_p`` and ``L_bbox`` of GAIN_ext (Li et al., TPAMI 2020, Eq. 7-10).

    ``L_p`` is taken of the images with ``gt_sem_seg``, ``L_bbox`` of the others with ``gt_instances``; each is the mean
    over its own images of the batch, so a batch may mix both with images that have tags alone. Only classes in
    ``gt_label`` count.

    Args:
        mask_weight: Factor of ``L_p``; 0 leaves it out.
        box_weight: Factor of ``L_bbox``; 0 leaves it out.
        prior: An image with boxes but without ``gt_prior`` is an error (``'require'``), or keeps the attention out of
            the surroundings of the boxes alone (``'outside'``). Without it Eq. (9) would drive the attention to 0, or,
            with a prior of 1, into the corners of the boxes. Boxes in which the prior is 0 throughout are treated as
            without one, and counted in the log (``blank_priors``).
        absent: A class in the tags without a pixel of its own in the mask, or without a box: ``'skip'`` it, since the
            tags are of the whole image and a crop may have lost the object, or ``'zero'``, nothing to look at.
        reduction: ``'mean'`` over cells, or ``'sum'`` as the paper writes it, which at the paper's weight of 10
            outweighs everything else.
        normalized: Scale each map to [0, 1] first; the paper's attention is not, and small in small networks.
        detach_norm: Take the extremes of a map for constants.
        resolution: Compare at the size of the ``'feature'`` map, or of the ``'image'``, as a published port does.
        box_resize: ``'area'``: the share of a cell inside the boxes, so that small boxes do not vanish, or
            ``'nearest'``.
        grad_through_weights: As in ``AttentionMining``.
        begin: Iterations of training before it starts.

    Raises:
        ConfigError: another choice than those above.
    """

    def __init__(self, mask_weight: float = 10., box_weight: float = 10., prior: str = 'require',
                 absent: str = 'skip', reduction: str = 'mean', normalized: bool = True, detach_norm: bool = False,
                 resolution: str = 'feature', box_resize: str = 'area', grad_through_weights: bool = False,
                 begin: int = 0) -> None:
        super().__init__(begin=begin)
        for name, value, expected in (('prior', prior, ('require', 'outside')), ('absent', absent, ('skip', 'zero')),
                                      ('reduction', reduction, ('mean', 'sum')),
                                      ('resolution', resolution, ('feature', 'image')),
                                      ('box_resize', box_resize, ('area', 'nearest'))):
            check_option(f'AttentionSupervision: {name}', value, expected)
        self.mask_weight, self.box_weight = mask_weight, box_weight
        self.prior = prior
        self.absent = absent
        self.reduction = reduction
        self.normalized, self.detach_norm = normalized, detach_norm
        self.resolution = resolution
        self.box_resize = box_resize
        self.grad_through_weights = grad_through_weights

    def loss(self, classifier: CAMClassifier, inputs: Tensor, feats: Sequence[Tensor],
             data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """``loss_p``, ``loss_bbox``, and for the log ``blank_priors``, the number of pairs whose prior says nothing.

        Raises:
            ConfigError: a sample without tags, or without a prior where one is required.
            DataError: a map of another size than the network's input.
        """
        if not self.active():
            return {}
        features = classifier.head.select(feats)
        tags = stack_tags(data_samples, features)
        masked = [i for i, sample in enumerate(data_samples) if 'gt_sem_seg' in sample]
        boxed = [i for i, sample in enumerate(data_samples) if 'gt_instances' in sample and 'gt_sem_seg' not in sample]
        zero = features[:0].float().sum()  # ranks and batches without such images still give every term
        terms: dict[str, Tensor] = {}
        if self.mask_weight:
            terms['loss_p'] = zero
            if masked:
                samples = [data_samples[i] for i in masked]
                terms['loss_p'] = self.mask_weight * self.mask_term(classifier.head, features, tags, masked, samples,
                                                                    inputs.shape[2:])
        if self.box_weight:
            terms['loss_bbox'], terms['blank_priors'] = zero, zero.detach()
            if boxed:
                samples = [data_samples[i] for i in boxed]
                loss, terms['blank_priors'] = self.box_term(classifier.head, features, tags, boxed, samples,
                                                            inputs.shape[2:])
                terms['loss_bbox'] = self.box_weight * loss
        return terms

    def mask_term(self, head: BasePoolingHead, features: Tensor, tags: Tensor, rows: list[int],
                  samples: Sequence[SegDataSample], size: Sequence[int]) -> Tensor:
        """``L_p``, unweighted.

        Args:
            head: The classifier's head.
            features: ``(N, D, h, w)`` of the batch.
            tags: ``(N, C)``.
            rows: Indices of the R images with masks.
            samples: Their R samples.
            size: ``(H, W)`` of the network's input.
        """
        pairs, local = _pairs(tags, rows)
        attention = self.attention(head, features, pairs, size)
        labels = _stack(samples, 'gt_sem_seg', size, features.device)
        # Segmentation ids are class indices + 1. Ignored pixels are 255, which is no class, so a share is of the rest.
        own = (labels[local] == pairs[:, 1, None, None] + 1).to(attention.dtype)
        share = area_resize(own, attention.shape[1:])
        valid = area_resize((labels != _UNKNOWN).to(attention.dtype), attention.shape[1:])[local]
        target = share / torch.where(valid > 0, valid, 1)
        return l_p(attention, target, local, len(rows), valid, self._kept(own), self.reduction)

    def box_term(self, head: BasePoolingHead, features: Tensor, tags: Tensor, rows: list[int],
                 samples: Sequence[SegDataSample], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """``L_bbox``, unweighted, and the number of pairs with a prior that is 0 throughout the boxes.

        Args:
            head, features, tags, size: As in :meth:`mask_term`.
            rows: Indices of the R images with boxes.
            samples: Their R samples.
        """
        pairs, local = _pairs(tags, rows)
        attention = self.attention(head, features, pairs, size)
        cells, device = attention.shape[1:], features.device
        union = self._boxes(samples, pairs[:, 1], local, tags.shape[1], size, device).to(attention.dtype)
        boxes = area_resize(union, cells) if self.box_resize == 'area' else F.interpolate(union[:, None], cells)[:, 0]
        kept = self._kept(union)

        # The mask of definite background tells where a batch was padded.
        padding = _stack(samples, 'gt_bg_mask', size, device, missing=0) == _UNKNOWN
        raw = _stack(samples, 'gt_prior', size, device, None if self.prior == 'require' else _UNKNOWN)
        known = (raw != _UNKNOWN).to(attention.dtype)
        prior = raw * known / 254
        seen = (union * known[local]).amax((1, 2)) > 0
        blank = (union * prior[local]).amax((1, 2)) == 0

        valid = area_resize((~padding).to(attention.dtype), cells)[local]
        share = area_resize(known, cells)
        prior = area_resize(prior, cells) / torch.where(share > 0, share, 1)
        prior_valid = torch.minimum(share[local], valid) * ~blank[:, None, None]
        loss = l_bbox(attention, boxes, prior[local], local, len(rows), valid, prior_valid, kept, self.reduction)
        return loss, (blank & seen).sum().float()

    def attention(self, head: BasePoolingHead, features: Tensor, pairs: Tensor, size: Sequence[int]) -> Tensor:
        """Maps ``(P, h, w)`` of the pairs ``(P, 2)``, at the size and scale at which they are compared."""
        maps = class_attention(head, features, pairs, self.grad_through_weights)
        if self.resolution == 'image':
            maps = F.interpolate(maps[:, None], tuple(size), mode='bilinear', align_corners=False)[:, 0]
        return minmax_normalize(maps, detach=self.detach_norm) if self.normalized else maps

    def _kept(self, target: Tensor) -> Tensor:
        """``(P, H, W)`` -> the pairs that count."""
        return target.amax((1, 2)) > 0 if self.absent == 'skip' else torch.ones_like(target[:, 0, 0], dtype=torch.bool)

    @staticmethod
    def _boxes(samples: Sequence[SegDataSample], labels: Tensor, local: Tensor, num_classes: int,
               size: Sequence[int], device: torch.device) -> Tensor:
        """Union ``(P, H, W)`` of each pair's boxes."""
        instances = [sample.gt_instances for sample in samples]
        images = torch.arange(len(samples)).repeat_interleave(torch.tensor([len(i.bboxes) for i in instances]))
        box_labels = torch.cat([i.labels for i in instances]).to(device)
        pair_of = torch.full((len(samples), num_classes), len(local), device=device)  # boxes of no pair are left out
        pair_of[local, labels] = torch.arange(len(local), device=device)
        return box_union(torch.cat([i.bboxes for i in instances]).to(device),
                         pair_of[images.to(device, non_blocking=True), box_labels], len(local), *size)


def _pairs(tags: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
    """Pairs ``(P, 2)`` of the chosen images, and of each pair its image's place among these."""
    chosen = torch.tensor(rows).to(tags.device, non_blocking=True)
    local, label = present_pairs(tags[chosen]).unbind(1)
    return torch.stack([chosen[local], label], 1), local


def _stack(samples: Sequence[SegDataSample], field: str, size: Sequence[int], device: torch.device,
           missing: int | None = None) -> Tensor:
    """Label maps ``(R, H, W)`` of the samples; ``missing`` stands for a map that a sample does not have.

    Raises:
        ConfigError: there is no map, and ``missing`` is None.
        DataError: a map of another size.
    """
    maps = []
    for sample in samples:
        path = sample.metainfo.get('img_path')
        if field in sample:
            data = sample.get(field).data[0]
        elif missing is None:
            raise ConfigError(f'an image with boxes has no `{field}`', file=path, expected='a foreground prior',
                              fix="load one, or set prior='outside' in AttentionSupervision")
        else:
            data = torch.full(tuple(size), missing, dtype=torch.uint8)
        if data.shape != tuple(size):
            raise DataError(f'`{field}` is {data.shape[0]} x {data.shape[1]} (height x width), the network\'s input '
                            f'{size[0]} x {size[1]}', file=path, expected='one size for both',
                            fix='resize and crop it with the image, and pad it with wsss_mm.WeakSegDataPreProcessor')
        maps.append(data.to(device))
    return torch.stack(maps)
