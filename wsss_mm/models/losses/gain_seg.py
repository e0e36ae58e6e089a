"""The losses of GAIN's own segmentor (Li et al., CVPR 2018, section 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.losses.seeds import SeedBatch, SeedLoss, cues_inside, full_precision
from wsss_mm.registry import MODELS


def cue_cross_entropy(logits: Tensor, cues: Tensor, valid: Tensor | None = None) -> Tensor:
    """Cross-entropy on the cues, all other pixels ignored: the mean over the batch's cues, as of DeepLab's labels.

    Args:
        logits: ``(N, C, h, w)``.
        cues: ``(N, C, h, w)`` bool; a pixel with two cues counts for both.
        valid: ``(N, h, w)`` bool, False in padding.

    Returns:
        A scalar; 0 without cues.
    """
    cues = cues_inside(cues, valid)
    return torch.where(cues, -logits.log_softmax(1), 0).sum() / cues.sum().clamp_min(1)


def tag_loss(logits: Tensor, tags: Tensor, valid: Tensor | None = None) -> Tensor:
    """Multi-label soft margin of the foreground logits' means over the image (L_cl).

    Args:
        logits: ``(N, C, h, w)``, channel 0 the background, which has no part in it.
        tags: ``(N, C)``.
        valid: ``(N, h, w)`` bool, False in padding, which is not averaged.

    Returns:
        A scalar: the mean over classes and images.
    """
    foreground = logits[:, 1:].flatten(2)
    if valid is None:
        scores = foreground.mean(2)
    else:
        inside = valid.flatten(1)[:, None]
        scores = torch.where(inside, foreground, 0).sum(2) / inside.sum(2).clamp_min(1)
    return F.multilabel_soft_margin_loss(scores, tags[:, 1:].to(scores.dtype))


@MODELS.register_module()
class GAINSegLoss(SeedLoss):
    """``L_seg + L_cl``: cross-entropy on cues from attention maps, and the tags on the mean logits.

    Args:
        seg_weight, cl_weight: Of the two terms, 1 in the paper.
    """

    def __init__(self, seg_weight: float = 1., cl_weight: float = 1.) -> None:
        super().__init__()
        self.seg_weight, self.cl_weight = seg_weight, cl_weight

    def forward(self, logits: Tensor, batch: SeedBatch) -> dict[str, Tensor]:
        """``loss_seg`` and ``loss_cl``, weighted; see :meth:`SeedLoss.forward`."""
        logits = full_precision(logits)
        return dict(loss_seg=self.seg_weight * cue_cross_entropy(logits, batch.cues, batch.valid),
                    loss_cl=self.cl_weight * tag_loss(logits, batch.tags, batch.valid))
