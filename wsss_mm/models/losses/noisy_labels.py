"""Losses for label maps that are partly wrong (BANA, CVPR 2021, §3.3 and supplement §5).

Two label maps of one image, ``labels`` (Y_crf) and ``retrieved`` (Y_ret), split the pixels:

* reliable ``S``: both maps say the same,
* unreliable ``~S``: they differ,
* padding: ``labels`` is 255; in neither set.

Every loss here is cross-entropy on ``S`` plus its own term on ``~S``. All means run over the *whole batch*, as in the
published code, so an image's weight depends on how many pixels of each set its batch holds: the loss of a batch is the
mean over pixels, not over images.

The forms are dense: masked sums over all pixels. Boolean indexing would copy the chosen rows of a (pixels, classes)
tensor and wait for the device to count them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.registry import MODELS

IGNORED = 255
_EPS = 1e-12


def split_by_agreement(labels: Tensor, retrieved: Tensor) -> tuple[Tensor, Tensor]:
    """The reliable set ``S`` and the unreliable set ``~S`` (§3.3).

    Args:
        labels, retrieved: ``(N, H, W)`` segmentation ids, 255 = padding.

    Returns:
        Two ``(N, H, W)`` boolean masks. A pixel that only ``retrieved`` ignores is unreliable.
    """
    valid, agree = labels != IGNORED, labels == retrieved
    return valid & agree, valid & ~agree


def confidence(similarity: Tensor, labels: Tensor, gamma: float = 7.) -> Tensor:
    """Confidence in each pixel's label: ``(D_y / max_c D_c) ** gamma``, ``D_c = 1 + cos(phi, W_c)``, Eq. (11)-(12).

    Args:
        similarity: ``(N, C, H, W)`` cosines between features and classifier weights.
        labels: ``(N, H, W)`` segmentation ids; the value at 255 is meaningless, but finite.
        gamma: Damping; larger trusts only labels the network agrees with.

    Returns:
        ``(N, H, W)`` in [0, 1].
    """
    similarity = _full_precision(similarity)
    label = labels.long().masked_fill(labels == IGNORED, 0)[:, None]
    nearest = similarity.detach().max(dim=1, keepdim=True).indices
    # One gather for both: the gradient is one dense tensor, not a second one for the maximum and their sum.
    # An interpolated cosine can fall a rounding error below -1, and a fractional power of that is NaN.
    distance, largest = (1 + similarity.gather(1, torch.cat([label, nearest], dim=1))).clamp_min(0).unbind(dim=1)
    return (distance / largest.clamp_min(_EPS)) ** gamma


def reliable_cross_entropy(logits: Tensor, labels: Tensor, retrieved: Tensor) -> dict[str, Tensor]:
    """Cross-entropy on ``S`` alone: the paper's baseline, which ignores ``~S`` (Table 3).

    Args:
        logits: ``(N, C, H, W)``.
        labels, retrieved: ``(N, H, W)`` segmentation ids, 255 = padding.

    Returns:
        ``loss_ce``, and for the log ``unreliable_share``, the part of the valid pixels in ``~S``.
    """
    reliable, unreliable = split_by_agreement(labels, retrieved)
    return _reliable_terms(_cross_entropy(logits, labels), reliable, unreliable)


def noise_aware_loss(logits: Tensor, similarity: Tensor, labels: Tensor, retrieved: Tensor, gamma: float = 7.,
                     lambda_: float = 0.1, detach_sigma: bool = False) -> dict[str, Tensor]:
    """Noise-aware loss, Eq. (10)-(14): ``mean_S CE + lambda * sum_~S(sigma CE) / sum_~S(sigma)``.

    Cost: one softmax over ``N*C*H*W`` values, one maximum over them and a handful of ``N*H*W`` maps; the floor is
    one pass over the logits each way, and boolean indexing adds a copy of the logits and of the similarities per set.

    Args:
        logits: ``(N, C, H, W)``; 20 times the cosines with the cosine classifier.
        similarity: ``(N, C, H, W)`` cosines between features and classifier weights.
        labels, retrieved: ``(N, H, W)`` segmentation ids, 255 = padding.
        gamma: Exponent of the confidence.
        lambda_: Weight of the unreliable pixels' term.
        detach_sigma: Treat the confidence as a constant. The paper does not say; the published code lets gradients
            through it, which changes that term's gradient strongly (cosine of .75 between the two on one fixture).

    Returns:
        ``loss_ce``, ``loss_wce`` (times ``lambda_``; 0 if nobody disagrees), and for the log ``unreliable_share``
        and ``mean_sigma`` over ``~S``. Computed in float32 at least.
    """
    reliable, unreliable = split_by_agreement(labels, retrieved)
    errors = _cross_entropy(logits, labels)
    sigma = confidence(similarity.detach() if detach_sigma else similarity, labels, gamma)
    weights = torch.where(unreliable, sigma, 0)
    weight = weights.sum()
    terms = _reliable_terms(errors, reliable, unreliable)
    terms['loss_wce'] = lambda_ * (weights * errors).sum() / weight.clamp_min(_EPS)
    terms['mean_sigma'] = weight.detach() / unreliable.sum().clamp_min(1)
    return terms


def entropy_regularization(logits: Tensor, labels: Tensor, retrieved: Tensor,
                           lambda_: float = 0.1) -> dict[str, Tensor]:
    """Cross-entropy on ``S`` plus the predictions' mean entropy on ``~S``, supplement Eq. (4)-(5).

    Args:
        logits: ``(N, C, H, W)``.
        labels, retrieved: ``(N, H, W)`` segmentation ids, 255 = padding.
        lambda_: Weight of the entropy.

    Returns:
        ``loss_ce``, ``loss_entropy`` (times ``lambda_``), and for the log ``unreliable_share``.
    """
    reliable, unreliable = split_by_agreement(labels, retrieved)
    log_probs = _full_precision(logits).log_softmax(dim=1)
    terms = _reliable_terms(_nll(log_probs, labels), reliable, unreliable)
    terms['loss_entropy'] = lambda_ * _mean(-(log_probs.exp() * log_probs).sum(dim=1), unreliable)
    return terms


def bootstrapping_loss(logits: Tensor, labels: Tensor, retrieved: Tensor, beta: float, lambda_: float = 0.1,
                       detach_target: bool = True) -> dict[str, Tensor]:
    """Cross-entropy on ``S``, and on ``~S`` against ``beta * label + (1 - beta) * prediction``, supplement Eq. (6)-(8).

    Args:
        logits: ``(N, C, H, W)``.
        labels, retrieved: ``(N, H, W)`` segmentation ids, 255 = padding.
        beta: Trust in the label, from 1 (start) to 0 (end of training); see :func:`poly_beta`.
        lambda_: Weight of the bootstrapped term.
        detach_target: Hold the mixed target fixed, which is the paper's "EM-like" reading (no code was published);
            otherwise gradients also flow through the target, and at ``beta = 0`` the term is the entropy.

    Returns:
        ``loss_ce``, ``loss_bootstrap`` (times ``lambda_``), and for the log ``unreliable_share``.
    """
    reliable, unreliable = split_by_agreement(labels, retrieved)
    log_probs = _full_precision(logits).log_softmax(dim=1)
    errors = _nll(log_probs, labels)
    target = log_probs.exp()
    expected = -((target.detach() if detach_target else target) * log_probs).sum(dim=1)
    terms = _reliable_terms(errors, reliable, unreliable)
    terms['loss_bootstrap'] = lambda_ * _mean(beta * errors + (1 - beta) * expected, unreliable)
    return terms


def poly_beta(iteration: int, max_iterations: int, power: float = 0.9) -> float:
    """``(1 - iteration / max_iterations) ** power``: 1 at the start, 0 at the end of training."""
    return max(0., 1 - iteration / max_iterations) ** power


def _full_precision(values: Tensor) -> Tensor:
    """Half precision to float32 (sigma**7 and a softmax of 20 * cos need it); float64 stays, for gradcheck."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return _nll(_full_precision(logits).log_softmax(dim=1), labels)


def _nll(log_probs: Tensor, labels: Tensor) -> Tensor:
    """``(N, H, W)`` negative log-likelihood of the labels, 0 at padding."""
    return F.nll_loss(log_probs, labels.long(), ignore_index=IGNORED, reduction='none')


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask, 0 where it is empty; nothing outside the mask reaches value or gradient."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)


def _reliable_terms(errors: Tensor, reliable: Tensor, unreliable: Tensor) -> dict[str, Tensor]:
    count = unreliable.sum()
    share = count / (count + reliable.sum()).clamp_min(1)
    return dict(loss_ce=_mean(errors, reliable), unreliable_share=share)


class NoisyLabelLoss(nn.Module):
    """Base of the losses that look at two label maps.

    Decode heads recognise them by ``needs_retrieved`` and call ``forward(logits, similarity, labels, retrieved)``,
    which returns a dict: keys containing "loss" are summed by MMEngine, the others are only logged.

    Args:
        loss_weight: Factor on every term; for auxiliary heads.
    """

    needs_retrieved = True
    needs_similarity = False

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, similarity: Tensor | None, labels: Tensor,
                retrieved: Tensor) -> dict[str, Tensor]:
        """Weigh the terms of :meth:`terms`.

        Args:
            logits: ``(N, C, H, W)``.
            similarity: ``(N, C, H, W)`` cosines; None is fine unless ``needs_similarity``.
            labels, retrieved: ``(N, H, W)`` segmentation ids, 255 = padding.
        """
        terms = self.terms(logits, similarity, labels, retrieved)
        return {name: self.loss_weight * term if 'loss' in name else term for name, term in terms.items()}

    def terms(self, logits: Tensor, similarity: Tensor | None, labels: Tensor,
              retrieved: Tensor) -> dict[str, Tensor]:
        """The loss's terms, unweighted."""
        raise NotImplementedError


@MODELS.register_module()
class NoiseAwareLoss(NoisyLabelLoss):
    """Module around :func:`noise_aware_loss`.

    Args:
        gamma: Exponent of the confidence.
        lambda_: Weight of the unreliable pixels' term.
        detach_sigma: Stop gradients through the confidence (the published code does not).
        loss_weight: Factor on every term.
    """

    needs_similarity = True

    def __init__(self, gamma: float = 7., lambda_: float = 0.1, detach_sigma: bool = False,
                 loss_weight: float = 1.) -> None:
        super().__init__(loss_weight)
        self.gamma, self.lambda_, self.detach_sigma = gamma, lambda_, detach_sigma

    def terms(self, logits, similarity, labels, retrieved):
        return noise_aware_loss(logits, similarity, labels, retrieved, self.gamma, self.lambda_, self.detach_sigma)


@MODELS.register_module()
class ReliableCrossEntropy(NoisyLabelLoss):
    """Module around :func:`reliable_cross_entropy`.

    Args:
        loss_weight: Factor on the loss.
    """

    def terms(self, logits, similarity, labels, retrieved):
        return reliable_cross_entropy(logits, labels, retrieved)


@MODELS.register_module()
class EntropyRegularization(NoisyLabelLoss):
    """Module around :func:`entropy_regularization`.

    Args:
        lambda_: Weight of the entropy.
        loss_weight: Factor on every term.
    """

    def __init__(self, lambda_: float = 0.1, loss_weight: float = 1.) -> None:
        super().__init__(loss_weight)
        self.lambda_ = lambda_

    def terms(self, logits, similarity, labels, retrieved):
        return entropy_regularization(logits, labels, retrieved, self.lambda_)


@MODELS.register_module()
class BootstrappingLoss(NoisyLabelLoss):
    """Module around :func:`bootstrapping_loss`; ``beta`` follows the training's progress in MMEngine's message hub.

    Args:
        lambda_: Weight of the bootstrapped term.
        power: Exponent of the poly schedule of ``beta``.
        detach_target: Hold the mixed target fixed.
        loss_weight: Factor on every term.
    """

    def __init__(self, lambda_: float = 0.1, power: float = 0.9, detach_target: bool = True,
                 loss_weight: float = 1.) -> None:
        super().__init__(loss_weight)
        self.lambda_, self.power, self.detach_target = lambda_, power, detach_target

    def terms(self, logits, similarity, labels, retrieved):
        return bootstrapping_loss(logits, labels, retrieved, self.beta(), self.lambda_, self.detach_target)

    def beta(self) -> float:
        """Trust in the label at the running iteration.

        Raises:
            ConfigError: no training loop has told the message hub its length.
        """
        hub = MessageHub.get_current_instance()
        iteration, length = hub.get_info('iter'), hub.get_info('max_iters')
        if iteration is None or not length:
            raise ConfigError(f"the message hub holds iter={iteration} and max_iters={length}",
                              expected="both, as MMEngine's RuntimeInfoHook sets them at the start of training",
                              fix='train through a Runner, or call bootstrapping_loss with a beta of your own')
        return poly_beta(iteration, length, self.power)
