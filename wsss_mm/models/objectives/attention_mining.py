"""GAIN's attention mining: what an image still shows of a class once the attention to it is masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from wsss_mm.models.heads.base import present_pairs, stack_tags
from wsss_mm.models.objectives.attention import check_option, class_attention, l_am, minmax_normalize, soft_mask
from wsss_mm.models.objectives.base import NORMS, Objective, pass_state
from wsss_mm.registry import MODELS

if TYPE_CHECKING:
    from wsss_mm.models.classifiers import CAMClassifier


@MODELS.register_module()
class AttentionMining(Objective):
    """``L_am`` of GAIN (Li et al., TPAMI 2020, Eq. 1-6) for every class in every image's tags.

    The image is masked after normalisation, so what is masked becomes the data set's mean colour. All pairs of image
    and class go through the network as one batch; the forwards of one pair after another cost as much arithmetic in
    smaller pieces. Images without tags are skipped. Nothing here speaks to other ranks, whose number of pairs differs.

    Args:
        omega: Steepness of the mask; not the paper's other omega, the weight of the extra supervision.
        sigma: Threshold of the mask. The paper gives neither; 10 and .5 are those of the best-known port.
        score: ``'sigmoid'``, ``'softmax'`` or ``'logit'``, see :func:`~wsss_mm.models.objectives.attention.l_am`.
        loss_weight: The paper's alpha.
        begin: Iterations of training before it starts; maps of an untrained network are noise.
        align_corners: Of the bilinear up-sampling of the maps to the image's size.
        detach_norm: Take the extremes of a map for constants.
        grad_through_weights: Differentiate Grad-CAM's weights too. For a piecewise linear head this changes the
            gradient of the head alone, see :func:`~wsss_mm.models.objectives.attention.class_attention`.
        update: ``'shared'``: the loss also trains the network to see nothing in masked images, as the paper's shared
            weights say. ``'attention_only'``: it reaches the weights through the mask alone.
        norm: Of the masked pass, see :func:`~wsss_mm.models.objectives.base.pass_state`.
        chunk: Run the masked pass in parts of so many images and again in the backward pass, so that the memory of
            one part suffices. The second run finds statistics that ``norm='train'``, here or in a later objective,
            has moved.

    Raises:
        ConfigError: another ``score``, ``update`` or ``norm``.
    """

    def __init__(self, omega: float = 10., sigma: float = .5, score: str = 'sigmoid', loss_weight: float = 1.,
                 begin: int = 0, align_corners: bool = False, detach_norm: bool = False,
                 grad_through_weights: bool = False, update: str = 'shared', norm: str = 'batch',
                 chunk: int | None = None) -> None:
        super().__init__(begin)
        self.loss_weight = loss_weight
        check_option('AttentionMining: score', score, ('logit', 'sigmoid', 'softmax'))
        check_option('AttentionMining: update', update, ('shared', 'attention_only'))
        check_option('AttentionMining: norm', norm, NORMS)
        self.omega, self.sigma, self.score = omega, sigma, score
        self.align_corners, self.detach_norm = align_corners, detach_norm
        self.grad_through_weights = grad_through_weights
        self.update = update
        self.norm = norm
        self.chunk = chunk

    def loss(self, classifier: CAMClassifier, inputs: Tensor, feats: Sequence[Tensor],
             data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """``loss_am``, and for the log ``empty_maps``, the number of pairs without positive evidence.

        Raises:
            ConfigError: a sample without tags.
        """
        if not self.active():
            return {}
        features = classifier.head.select(feats)
        pairs = present_pairs(stack_tags(data_samples, features))
        if not len(pairs):
            zero = features[:0].float().sum()  # an empty batch would be a first for most backbones
            return dict(loss_am=zero, empty_maps=zero.detach())
        attention = class_attention(classifier.head, features, pairs, self.grad_through_weights)
        empty = (attention.detach().amax((1, 2)) == 0).sum().float()
        masked = self.mask(inputs, attention, pairs[:, 0])

        def logits(images: Tensor) -> Tensor:
            with pass_state(classifier, self.norm, frozen=self.update == 'attention_only'):
                return classifier(images)

        if self.chunk is None:
            scores = logits(masked)
        else:
            scores = torch.cat([checkpoint(logits, part, use_reentrant=False) for part in masked.split(self.chunk)])
        return dict(loss_am=self.loss_weight * l_am(scores, pairs, len(inputs), self.score), empty_maps=empty)

    def mask(self, inputs: Tensor, attention: Tensor, image_index: Tensor) -> Tensor:
        """``I* = I - T(A) I``, Eq. (3), for each pair.

        Args:
            inputs: ``(N, 3, H, W)``, normalised.
            attention: ``(P, h, w)``, not below 0.
            image_index: ``(P,)``.

        Returns:
            ``(P, 3, H, W)``.
        """
        full = F.interpolate(attention[:, None], inputs.shape[2:], mode='bilinear', align_corners=self.align_corners)
        visible = 1 - soft_mask(minmax_normalize(full[:, 0], detach=self.detach_norm), self.omega, self.sigma)
        return inputs[image_index] * visible[:, None].to(inputs.dtype)
