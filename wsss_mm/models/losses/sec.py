"""SEC: seed, expand, constrain (Kolesnikov and Lampert, ECCV 2016).

All terms are means over images of what each image gives alone, so a batch's loss is the mean of its images' losses.
An image that has nothing for a term (no cue, no present or no absent class, no valid pixel) adds 0 to it and counts
in the mean; the published code gives NaN there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.losses.seeds import SeedBatch, SeedLoss, cues_inside, floored_probabilities, safe_log
from wsss_mm.registry import MODELS, TASK_UTILS


def seed_loss(probabilities: Tensor, cues: Tensor, valid: Tensor | None = None) -> Tensor:
    """Cross-entropy on the seeds, Eq. (2): ``-sum_{u,c} S log p / sum S`` of each image, its mean over images.

    All classes share one count, the background's too.

    Args:
        probabilities: ``(N, C, h, w)``.
        cues: ``(N, C, h, w)`` bool.
        valid: ``(N, h, w)`` bool, False in padding.

    Returns:
        A scalar.
    """
    cues = cues_inside(cues, valid)
    terms = torch.where(cues, -safe_log(probabilities), 0).flatten(1).sum(1)
    return (terms / cues.flatten(1).sum(1).clamp_min(1)).mean()


def rank_pooling(maps: Tensor, decay: float, valid: Tensor | None = None) -> Tensor:
    """Global weighted rank pooling, Eq. (3): ``sum_j d^(j-1) f_(j) / sum_j d^(j-1)``, ``f_(1)`` the largest.

    Decay 0 is the maximum, 1 the mean. Cost: one sort; the weights of a size and decay are computed once.

    Args:
        maps: ``(P, n)``, one row per map.
        decay: d, 0 to 1.
        valid: ``(P, n)`` bool; others are not ranked. A row without any gives 0.

    Returns:
        ``(P,)``.
    """
    weights = _rank_weights(maps.shape[1], float(decay), maps.dtype, maps.device)
    if valid is None:
        return maps.sort(1, descending=True).values @ weights / weights.sum()
    ranked = maps.masked_fill(~valid, -torch.inf).sort(1, descending=True).values
    counted = torch.arange(maps.shape[1], device=maps.device) < valid.sum(1, keepdim=True)
    weights = torch.where(counted, weights, 0)
    return (torch.where(counted, ranked, 0) * weights).sum(1) / weights.sum(1).clamp_min(1)


def expand_loss(probabilities: Tensor, tags: Tensor, decays: Sequence[float] = (.996, 0., .999),
                valid: Tensor | None = None) -> dict[str, Tensor]:
    """Rank pooling against the tags, Eq. (4), in its three parts.

    Present foreground classes ``-mean_c log G``, absent ones ``-mean_c log(1 - G)``, background ``-log G``.

    Cost: only maps of present classes and of the background are sorted, some 2.5 of 21; absent ones need their
    maximum alone. The published code sorts all of them, and ports make the weights anew in Python at each call.

    Args:
        probabilities: ``(N, C, h, w)``.
        tags: ``(N, C)`` bool; the background's entry is not asked for.
        decays: Of present classes, absent ones and the background.
        valid: ``(N, h, w)`` bool; padding is not ranked.

    Returns:
        ``present``, ``absent`` and ``background``, scalars; the loss is their sum.
    """
    present_decay, absent_decay, background_decay = decays
    maps = probabilities.flatten(2)
    inside = None if valid is None else valid.flatten(1)
    filled = maps.new_ones(len(maps)) if inside is None else inside.any(1).to(maps.dtype)
    foreground = tags.bool()[:, 1:]

    def pool(chosen: Tensor, rows: Tensor, decay: float) -> Tensor:
        return rank_pooling(chosen, decay, None if inside is None else inside[rows])

    rows, classes = foreground.nonzero(as_tuple=True)
    present = -safe_log(pool(maps[rows, classes + 1], rows, present_decay))
    if absent_decay:
        lacking, others = (~foreground).nonzero(as_tuple=True)
        absent = -safe_log(1 - pool(maps[lacking, others + 1], lacking, absent_decay))
        absent = maps.new_zeros(len(maps)).index_add(0, lacking, absent)
    else:
        # a maximum is 0 without valid pixels, as no probability is below that
        highest = (maps if inside is None else torch.where(inside[:, None], maps, 0))[:, 1:].amax(2)
        absent = torch.where(foreground, 0, -safe_log(1 - highest)).sum(1)
    background = -safe_log(pool(maps[:, 0], torch.arange(len(maps), device=maps.device), background_decay))
    count = foreground.sum(1)
    present = maps.new_zeros(len(maps)).index_add(0, rows, present)
    return dict(present=(filled * present / count.clamp_min(1)).mean(),
                absent=(filled * absent / (foreground.shape[1] - count).clamp_min(1)).mean(),
                background=(filled * background).mean())


def floored_posterior(posterior: Tensor, floor: float = 1e-4) -> Tensor:
    """A CRF's posterior with all classes at ``floor`` at least, normalised again.

    Args:
        posterior: ``(N, C, h, w)``.
        floor: Lowest probability before the normalisation.

    Returns:
        ``(N, C, h, w)``.
    """
    posterior = posterior.clamp_min(floor)
    return posterior / posterior.sum(1, keepdim=True)


def constrain_loss(probabilities: Tensor, posterior: Tensor, valid: Tensor | None = None,
                   ratio: Sequence[float] | None = None) -> Tensor:
    """``mean_u sum_c Q log(Q / p)``, Eq. (5): the divergence of the predictions from the CRF's posterior.

    Args:
        probabilities: ``(N, C, h, w)``.
        posterior: ``(N, C, h, w)``, above 0, as :func:`floored_posterior` gives it. SEC's is a constant; a gradient
            that it carries is followed.
        valid: ``(N, h, w)`` bool, False in padding.
        ratio: ``Q / p`` is clipped to this before the logarithm (DSRG: .05, 20), beyond which no gradient is left.

    Returns:
        A scalar: the mean over the pixels of an image, then over images.
    """
    logarithm = posterior.log() - safe_log(probabilities)
    if ratio is not None:
        lowest, highest = torch.tensor(ratio, dtype=torch.float64).log().tolist()
        logarithm = logarithm.clamp(lowest, highest)
    terms = (posterior * logarithm).sum(1)
    if valid is None:
        return terms.mean()
    terms = torch.where(valid, terms, 0).flatten(1).sum(1)
    return (terms / valid.flatten(1).sum(1).clamp_min(1)).mean()


@MODELS.register_module()
class SECLoss(SeedLoss):
    """``seed + expand + constrain`` on floored softmax probabilities (SEC, section 3).

    Args:
        seed_weight, expand_weight, constrain_weight: Of the three terms; one of weight 0 is not computed.
        decays: Of rank pooling: present classes, absent ones, background.
        crf: Config of the CRF, called as :class:`~wsss_mm.refinement.BatchCRF`; None is that class with its
            defaults, SEC's values. The unary is minus the logits, the posterior a constant, as published.
        floor: Added to all probabilities, and the lowest value of the posterior (code; not in the paper).

    Raises:
        ConfigError: decays that are not three numbers in 0…1.
    """

    def __init__(self, seed_weight: float = 1., expand_weight: float = 1., constrain_weight: float = 1.,
                 decays: Sequence[float] = (.996, 0., .999), crf: dict | None = None, floor: float = 1e-4) -> None:
        super().__init__()
        if len(decays) != 3 or not all(0 <= decay <= 1 for decay in decays):
            raise ConfigError(f'SECLoss decays={decays}',
                              expected='three numbers in 0 to 1: of present classes, absent ones, background')
        self.weights = seed_weight, expand_weight, constrain_weight
        self.decays, self.floor, self.crf_config = tuple(decays), floor, crf

    def forward(self, logits: Tensor, batch: SeedBatch) -> dict[str, Tensor]:
        """``loss_seed``, ``loss_expand`` and ``loss_constrain``, weighted; see :meth:`SeedLoss.forward`."""
        probabilities = floored_probabilities(logits, self.floor)
        seed, expand, constrain = self.weights
        terms = {}
        if seed:
            terms['loss_seed'] = seed * seed_loss(probabilities, batch.cues, batch.valid)
        if expand:
            parts = expand_loss(probabilities, batch.tags, self.decays, batch.valid)
            terms['loss_expand'] = expand * (parts['present'] + parts['absent'] + parts['background'])
        if constrain:
            posterior = self.crf(batch.images, -logits, batch.tags, batch.valid)
            posterior = floored_posterior(posterior, self.floor)
            terms['loss_constrain'] = constrain * constrain_loss(probabilities, posterior, batch.valid)
        return terms

    @cached_property
    def crf(self) -> Any:
        """Built when first used: refiners stand to the right of models, which must not import them."""
        return build_crf(self.crf_config)


def build_crf(config: dict | None) -> Any:
    """The CRF of a config; of None, ``BatchCRF`` with its defaults."""
    return TASK_UTILS.build(dict(type='wsss_mm.BatchCRF') if config is None else config)


@lru_cache(maxsize=32)
def _rank_weights(n: int, decay: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    # A tensor made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return (decay ** torch.arange(n, dtype=torch.float64)).to(dtype).to(device)
