"""Adversarial erasing by a triplet (AEFT, Yoon et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from mmengine.logging import print_log
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.base import full_precision, stack_tags
from wsss_mm.models.objectives.attention import check_option
from wsss_mm.models.objectives.base import NORMS, Objective, extra_pass
from wsss_mm.models.objectives.triplet import (
    DISTANCES,
    attract_loss,
    embed,
    erasing_mask,
    low_confidence,
    repel_loss,
    sample_negatives,
    scale_by_peak,
)
from wsss_mm.registry import MODELS

if TYPE_CHECKING:
    from wsss_mm.models.classifiers import CAMClassifier
    from wsss_mm.models.heads import BasePoolingHead


@MODELS.register_module()
class ErasingTriplet(Objective):
    """Pulls an image towards its erased self, and its unsure regions away from an image without its classes.

    One further pass, on the erased images; the negative is another row of the batch. Two-phase training is ``begin``
    here, and the image-level loss on the first images alone is the head's ``loss_images``. Works with any pooling
    head; with one that does not weigh its class maps the embeddings are of the class maps themselves.

    The defaults are those of the published code. The paper's equations as they are written:
    ``attract_weight=.15, rectify=False, own_classes=False, normalize='vector', attract_distance='mse',
    repel_distance='mse', hard_only=False``.

    Args:
        attract_weight, repel_weight: Factors of the two losses; one of them may be 0, and its work is then spared.
        margin: See :func:`~wsss_mm.models.objectives.triplet.repel_loss`.
        t_high: Class maps from this on are erased.
        t_low: Below this a class counts as unsure.
        masked: ``'soft'``: the attraction; ``'rigid'``: in its place, and with its weight, the image-level loss of the
            erased images (Table 3).
        embedding: ``'gpp'``: of the head's pooled maps; ``'cam'``: of the class maps ("Direct" in Table 2).
        anchor_region: Embedding that is repelled: ``'low'``: of the anchor's unsure region; ``'full'``: of all of it.
        normalize: ``'peak'``: for repelling, every pooled map by its largest magnitude; ``'vector'``: every embedding
            to length 1; ``'none'``.
        rectify: Embed the positive part of the maps alone, for attraction.
        own_classes: Embed the tagged classes of each image alone.
        attract_distance, repel_distance: ``'l1'``, ``'l2'`` or ``'mse'``; see
            :func:`~wsss_mm.models.objectives.triplet.distances`.
        hard_only, min_hard: See :func:`~wsss_mm.models.objectives.triplet.repel_loss`. With batches other than 32 per
            process, ``min_hard=.125`` keeps the published share.
        detach_mask: Keep the attraction's gradient out of the mask.
        norm: Batch norm of the further pass; see :func:`~wsss_mm.models.objectives.base.pass_state`. Where the
            classifier's own are not frozen, ``'train'`` treats both passes alike, but its statistics see erased images.
        begin: Iterations of plain classification before.
        init_cfg: As in mmengine.

    Raises:
        ConfigError: an unknown choice, or both weights 0.
    """

    def __init__(self, attract_weight: float = .2, repel_weight: float = .15, margin: float = .5, t_high: float = .6,
                 t_low: float = .2, masked: str = 'soft', embedding: str = 'gpp', anchor_region: str = 'low',
                 normalize: str = 'peak', rectify: bool = True, own_classes: bool = True,
                 attract_distance: str = 'l1', repel_distance: str = 'l2', hard_only: bool = True,
                 min_hard: float = 4, detach_mask: bool = False, norm: str = 'eval', begin: int = 0,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(begin=begin, init_cfg=init_cfg)
        for name, value, known in (
                ('masked', masked, ('soft', 'rigid')), ('embedding', embedding, ('gpp', 'cam')),
                ('anchor_region', anchor_region, ('low', 'full')), ('normalize', normalize, ('peak', 'vector', 'none')),
                ('attract_distance', attract_distance, DISTANCES), ('repel_distance', repel_distance, DISTANCES),
                ('norm', norm, NORMS)):
            check_option(f'ErasingTriplet: {name}', value, known)
        if not attract_weight and not repel_weight:
            raise ConfigError('ErasingTriplet: attract_weight and repel_weight are both 0', fix='remove the objective')
        self.attract_weight, self.repel_weight, self.margin = attract_weight, repel_weight, margin
        self.t_high, self.t_low = t_high, t_low
        self.masked, self.embedding, self.anchor_region = masked, embedding, anchor_region
        self.normalize, self.rectify, self.own_classes = normalize, rectify, own_classes
        self.attract_distance, self.repel_distance = attract_distance, repel_distance
        self.hard_only, self.min_hard, self.detach_mask, self.norm = hard_only, min_hard, detach_mask, norm
        self._told = False

    def loss(self, classifier: CAMClassifier, inputs: Tensor, feats: Sequence[Tensor],
             data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """``loss_attract`` (or ``loss_erased``, if rigid), ``loss_repel``, and for the log ``hard_triplets``.

        Raises:
            ConfigError: a sample without tags.
        """
        if not self.active():
            return {}
        class_maps = classifier.head.class_maps(feats)
        tags = stack_tags(data_samples, class_maps)
        pooled = self.pooled(classifier.head, class_maps)
        losses: dict[str, Tensor] = {}
        if self.repel_weight:
            index, valid = sample_negatives(tags)
            if not self._told and not valid.any():
                self._told = True
                print_log('ErasingTriplet: no two images of a batch are without a common class; repelling is 0 there '
                          '(said once)', logger='current')
            losses['loss_repel'], losses['hard_triplets'] = self.repel(class_maps, pooled, tags, index, valid)
        if self.attract_weight:
            mask = erasing_mask(class_maps, tags, inputs.shape[2:], self.t_high)
            erased = extra_pass(classifier, inputs * (mask.detach() if self.detach_mask else mask), norm=self.norm)
            losses.update(self.attract(classifier.head, pooled, erased, tags))
        return losses

    def pooled(self, head: BasePoolingHead, class_maps: Tensor) -> Tensor:
        """``(N, C, h, w)`` class maps -> the maps that are embedded."""
        return head.pooled_maps(class_maps) if self.embedding == 'gpp' else class_maps

    def attract(self, head: BasePoolingHead, pooled: Tensor, erased: Sequence[Tensor], tags: Tensor
                ) -> dict[str, Tensor]:
        """The loss of the erased images, times its weight.

        Args:
            head: Of the classifier.
            pooled: ``(N, C, h, w)``, of the images.
            erased: The classifier's maps of the erased images.
            tags: ``(N, C)`` multi-hot.
        """
        if self.masked == 'rigid':
            logits = full_precision(head(erased))
            return dict(loss_erased=self.attract_weight * F.multilabel_soft_margin_loss(logits, tags.to(logits)))
        first, second = (self._embed(F.relu(maps) if self.rectify else maps, tags)
                         for maps in (pooled, self.pooled(head, head.class_maps(erased))))
        return dict(loss_attract=self.attract_weight * attract_loss(first, second, self.attract_distance))

    def repel(self, class_maps: Tensor, pooled: Tensor, tags: Tensor, index: Tensor, valid: Tensor
              ) -> tuple[Tensor, Tensor]:
        """The repelling loss, times its weight, and the number of hard pairs.

        Args:
            class_maps, pooled: ``(N, C, h, w)``, of the images.
            tags: ``(N, C)`` multi-hot.
            index, valid: ``(N,)``, see :func:`~wsss_mm.models.objectives.triplet.sample_negatives`.
        """
        if self.normalize == 'peak':
            pooled = scale_by_peak(pooled)
        region = low_confidence(class_maps, tags, self.t_low) if self.anchor_region == 'low' else None
        anchor, negative = self._embed(pooled, tags, region), self._embed(pooled, tags)[index]
        loss, hard = repel_loss(anchor, negative, valid, self.margin, self.repel_distance, self.hard_only,
                                self.min_hard)
        return self.repel_weight * loss, hard.sum().float()

    def _embed(self, maps: Tensor, tags: Tensor, region: Tensor | None = None) -> Tensor:
        return embed(maps, region, tags if self.own_classes else None, unit=self.normalize == 'vector')
