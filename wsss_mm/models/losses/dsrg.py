"""DSRG: deep seeded region growing (Huang et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from mmengine.logging import MessageHub
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.losses.region_growing import check_thresholds, grow_seeds
from wsss_mm.models.losses.sec import build_crf, constrain_loss, floored_posterior
from wsss_mm.models.losses.seeds import SeedBatch, SeedLoss, cues_inside, floored_probabilities, safe_log
from wsss_mm.registry import MODELS


def balanced_seed_loss(probabilities: Tensor, cues: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy on the seeds, background and foreground apart, Eq. (2); all foreground classes share one count.

    Args:
        probabilities: ``(N, C, h, w)``.
        cues: ``(N, C, h, w)`` bool.
        valid: ``(N, h, w)`` bool, False in padding.

    Returns:
        Two scalars, ``-sum S log p / sum S`` over the background and over the foreground classes, each averaged over
        images; 0 for images without such a cue. The loss is their sum.
    """
    cues = cues_inside(cues, valid)
    terms = torch.where(cues, -safe_log(probabilities), 0).flatten(2).sum(2)
    counts = cues.flatten(2).sum(2)
    background = terms[:, 0] / counts[:, 0].clamp_min(1)
    foreground = terms[:, 1:].sum(1) / counts[:, 1:].sum(1).clamp_min(1)
    return background.mean(), foreground.mean()


class _DiagonalGradient(torch.autograd.Function):
    """``log Q`` whose gradient goes to ``-U`` times ``1 - Q``."""

    @staticmethod
    def forward(ctx: Any, negative_unary: Tensor, posterior: Tensor) -> Tensor:
        ctx.save_for_backward(posterior)
        return posterior.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:   # type: ignore[override]
        return (1 - ctx.saved_tensors[0]) * gradient, None


def with_diagonal_gradient(posterior: Tensor, negative_unary: Tensor) -> Tensor:
    """The posterior, with the gradient that DSRG's code gives the CRF.

    ``dL/d(-U) = (1 - Q) dL/d(log Q)``: the diagonal of the derivative of ``log Q`` if ``Q`` were ``softmax(-U)``, as
    if no messages were sent. The paper has no gradient through the CRF.

    Args:
        posterior: ``(N, C, h, w)``, above 0.
        negative_unary: ``(N, C, h, w)``, what the CRF was given, negated.

    Returns:
        ``(N, C, h, w)``, the values of ``posterior``.
    """
    return _DiagonalGradient.apply(negative_unary, posterior.detach()).exp()


@MODELS.register_module()
class DSRGLoss(SeedLoss):
    """Balanced seed loss on grown seeds, and SEC's boundary term (section 3).

    The CRF runs once; growing and the boundary term share its posterior. Growing starts from the batch's cues every
    time, never from cues grown before.

    Args:
        seed_weight, constrain_weight: Of the two terms.
        foreground_threshold, background_threshold: Of growing, see :func:`grow_seeds`.
        grow_on: ``'crf'``, the posterior (code), or ``'softmax'``, the network's own probabilities (paper).
        unary: ``'probability'``, minus the probability (code), which is at most 1 against kernel weights of 10 and
            3, so that the CRF smooths strongly; or ``'log'``, minus its logarithm, the usual one.
        crf_gradient: ``'diagonal'`` (code), see :func:`with_diagonal_gradient`, or ``'none'``, as SEC has it.
        ratio: Clipping of ``Q / p`` in the boundary term (code), or None.
        begin: Iterations before growing starts; until then the cues are used as they are. Published: 0.
        crf: As in :class:`SECLoss`.
        floor: As in :class:`SECLoss`.

    Raises:
        ConfigError: an unknown choice, a threshold outside 0…1.
    """

    def __init__(self, seed_weight: float = 1., constrain_weight: float = 1., foreground_threshold: float = .85,
                 background_threshold: float = .99, grow_on: str = 'crf', unary: str = 'probability',
                 crf_gradient: str = 'diagonal', ratio: Sequence[float] | None = (.05, 20.), begin: int = 0,
                 crf: dict | None = None, floor: float = 1e-4) -> None:
        super().__init__()
        check_thresholds(foreground_threshold, background_threshold)
        for name, value, choices in (('grow_on', grow_on, ('crf', 'softmax')),
                                     ('unary', unary, ('probability', 'log')),
                                     ('crf_gradient', crf_gradient, ('diagonal', 'none'))):
            if value not in choices:
                raise ConfigError(f'DSRGLoss {name}={value!r}', expected=' or '.join(map(repr, choices)))
        self.seed_weight, self.constrain_weight = seed_weight, constrain_weight
        self.thresholds = foreground_threshold, background_threshold
        self.grow_on, self.unary, self.crf_gradient, self.ratio = grow_on, unary, crf_gradient, ratio
        self.begin, self.crf_config, self.floor = begin, crf, floor

    def forward(self, logits: Tensor, batch: SeedBatch) -> dict[str, Tensor]:
        """Loss terms, and the share of the valid pixels that growing added; see :meth:`SeedLoss.forward`.

        Returns:
            ``loss_seed_background``, ``loss_seed_foreground``, ``loss_constrain``; ``grown_background``,
            ``grown_foreground``.
        """
        probabilities = floored_probabilities(logits, self.floor)
        negative_unary = probabilities.clamp_min(self.floor)
        if self.unary == 'log':
            negative_unary = negative_unary.log()
        posterior = self.crf(batch.images, -negative_unary, batch.tags, batch.valid)

        cues = batch.cues.bool()
        if self._growing():
            source = posterior if self.grow_on == 'crf' else probabilities.detach()
            cues = grow_seeds(cues, source, batch.tags, *self.thresholds, valid=batch.valid)
        background, foreground = balanced_seed_loss(probabilities, cues, batch.valid)
        grown = (cues & ~batch.cues.bool()).flatten(2).sum((0, 2)) / batch.valid.sum().clamp_min(1)

        posterior = floored_posterior(posterior, self.floor)
        if self.crf_gradient == 'diagonal':
            posterior = with_diagonal_gradient(posterior, negative_unary)
        constrain = constrain_loss(probabilities, posterior, batch.valid, self.ratio)
        return dict(loss_seed_background=self.seed_weight * background,
                    loss_seed_foreground=self.seed_weight * foreground,
                    loss_constrain=self.constrain_weight * constrain,
                    grown_background=grown[0], grown_foreground=grown[1:].sum())

    def _growing(self) -> bool:
        """Whether training has come to ``begin``; always where no training loop counts the iterations."""
        iteration = MessageHub.get_current_instance().get_info('iter')
        return iteration is None or iteration >= self.begin

    @cached_property
    def crf(self) -> Any:
        """Built when first used: refiners stand to the right of models, which must not import them."""
        return build_crf(self.crf_config)
