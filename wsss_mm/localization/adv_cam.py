"""AdvCAM: class maps summed while the image climbs towards its class (Lee, Kim, Yoon, CVPR 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization.localizer import Localizer, Views
from wsss_mm.models.objectives.base import pass_state
from wsss_mm.models.objectives.out_of_distribution import climb
from wsss_mm.registry import TASK_UTILS

_STEP_SIZES = dict(official=.08, paper=.008)


@TASK_UTILS.register_module()
class AdvCAM(Localizer):
    """Sums the class maps of an image that is moved, step by step, to where its class scores higher (eq. 3.2-3.6).

    Every present (image, class) pair climbs an image of its own, all of them as rows of one input. There is no
    gradient of the parameters; the published scheme's first backward, for its Grad-CAM weights, has a closed form
    (:func:`region_maps`), and nothing is differentiated where the image is not needed any more. Up to the first step
    the classes of an image share one image, and so its forward.

    Costs: of T maps, T forwards and T-1 backwards of the inputs for each pair, less the shared first forwards. A
    forward's cost as 1, that is about 2T; the published scheme, with two backwards of inputs and parameters, takes 5T.

    Args:
        steps: T, for each scale.
        step_size: ξ, in units of the normalised image. Default: .08 (``'official'``), .008 (``'paper'``).
        regularization: λ, the weight of staying at the first map where the map is high.
        mask_threshold: τ, the share of the map's maximum above which it is high.
        suppression: Weight of the other classes' scores; 1 is published.
        form: ``'official'``, the published code, which made the published numbers: T maps of T-1 steps; the step is
            ξ times the gradient divided by its largest absolute value, and the image stays within its own smallest
            and largest value; scores are means of ReLU'd class maps; an image and its mirror image climb together,
            with the sum of their :func:`region_maps` as the map, which has the scale of a logit divided by twice the
            number of the class's positive weights. ``'paper'``, the text: T+1 maps, each divided by its maximum, also
            in the regularisation; the bare gradient times ξ; the head's own logits; every view by itself.
        half_steps_below: At scales below this T is halved, but not to less than 5. Published: scale .5, 13 of 27;
            0 for never.
        max_pixels: Network input, in pixels, that is run with gradients at a time, at least one pair's; bounds the
            memory. A ResNet-50 takes about 2 KiB a pixel. The images that climb are held besides.

    Raises:
        ConfigError: another ``form``, or a number out of its range.
    """

    def __init__(self, steps: int = 27, step_size: float | None = None, regularization: float = 7.,
                 mask_threshold: float = .5, suppression: float = 1., form: str = 'official',
                 half_steps_below: float = 1., max_pixels: int = 3_000_000) -> None:
        if form not in _STEP_SIZES:
            raise ConfigError(f'AdvCAM: form={form!r}', expected="'official' or 'paper'")
        step_size = _STEP_SIZES[form] if step_size is None else step_size
        for name, value, fits, expected in (
                ('steps', steps, steps >= 1, '1 or more'), ('step_size', step_size, step_size > 0, 'above 0'),
                ('regularization', regularization, regularization >= 0, '0 or more'),
                ('mask_threshold', mask_threshold, 0 <= mask_threshold < 1, '0 or more, below 1'),
                ('suppression', suppression, suppression >= 0, '0 or more'),
                ('max_pixels', max_pixels, max_pixels >= 1, '1 or more')):
            if not fits:
                raise ConfigError(f'AdvCAM: {name}={value}', expected=expected)
        self.steps, self.step_size, self.form = steps, step_size, form
        self.regularization, self.mask_threshold, self.suppression = regularization, mask_threshold, suppression
        self.half_steps_below, self.max_pixels = half_steps_below, max_pixels

    def num_maps(self, scale: float) -> int:
        """How many maps are summed at a scale."""
        steps = self.steps
        if scale < self.half_steps_below:
            steps = max(steps // 2, min(steps, 5))
        return steps + (self.form == 'paper')

    def maps(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Tensor:
        """See :meth:`Localizer.maps`."""
        *_, last = self.trace(model, inputs, tags, views)
        return last

    def trace(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Iterator[Tensor]:
        """Sums of 1, 2, … maps in one climb; see :meth:`Localizer.trace`."""
        together = 2 if views is not None and views.mirrored and self.form == 'official' else 1
        number = self.num_maps(1. if views is None else views.scale)
        # (N, F, 3, H, W), F views that climb together
        start = inputs.detach().unflatten(0, (together, -1)).transpose(0, 1)
        counts = tags[:len(start)].sum(1)
        image, label = tags[:len(start)].nonzero().unbind(1)
        if not len(image):
            with torch.no_grad():
                empty = model.head.class_maps(model.extract_feat(inputs[:1]))[:0, 0]
            yield from [empty] * number
            return
        at_once = max(1, self.max_pixels // (together * inputs[0, 0].numel()))
        current, firsts = start[image], counts.cumsum(0) - counts

        # The first step: images with the same number of classes run once, and climb once for each class.
        first = None
        for count in counts.unique().tolist():
            for images in (counts == count).nonzero()[:, 0].split(at_once) if count else ():
                rows = firsts[images] + torch.arange(count, device=images.device)[:, None]      # (K, U)
                found, moved = self._step(model, start[images], label[rows], None, number > 1)
                first = found.new_zeros(len(image), *found.shape[2:]) if first is None else first
                first[rows] = found
                if moved is not None:
                    current[rows] = moved
        assert first is not None
        total = first.clone()
        yield _rows(total)

        for number_left in range(number - 2, -1, -1):
            for rows in torch.arange(len(image), device=image.device).split(at_once):
                found, moved = self._step(model, current[rows], label[None, rows], first[None, rows], number_left > 0)
                total[rows] += found[0]
                if moved is not None:
                    current[rows] = moved[0]
            yield _rows(total)

    def _step(self, model: Any, images: Tensor, labels: Tensor, first: Tensor | None, moving: bool
              ) -> tuple[Tensor, Tensor | None]:
        """Maps of K classes of every image, and, if they are wanted, K images moved.

        Args:
            model: The classifier.
            images: ``(B, F, 3, H, W)``.
            labels: ``(K, B)``.
            first: ``(K, B, F, h, w)``, the maps of the first step; None in it.
            moving: Whether the moved images are needed.

        Returns:
            ``(K, B, F, h, w)`` and ``(K, B, F, 3, H, W)``, without a graph.
        """
        found: list[Tensor] = []
        moved: list[Tensor] = []
        with torch.set_grad_enabled(moving), pass_state(model, frozen=True):
            inputs = images.flatten(0, 1).requires_grad_(moving)
            feats = model.extract_feat(inputs)
            scores = model.head.class_maps(feats).unflatten(0, images.shape[:2])
            logits = scores.relu().mean((3, 4)) if self.form == 'official' else model.head(feats).view(scores.shape[:3])
            positive = (model.head.class_weights > 0).sum(1)
            for k, label in enumerate(labels):
                maps = region_maps(scores, label, positive) if self.form == 'official' else peak_maps(scores, label)
                found.append(maps.detach())
                if not moving:
                    continue
                reference = found[-1] if first is None else first[k]
                objective = climbing_objective(logits, label, merged_map(maps), merged_map(reference),
                                               self.regularization, self.mask_threshold, self.suppression)
                inputs.grad = None
                # Not autograd.grad, which blocks that a backbone checkpoints do not allow.
                objective.sum().backward(retain_graph=k + 1 < len(labels))
                gradient = inputs.grad.view_as(images)  # type: ignore[attr-defined]
                moved.append(climb(images, gradient, self.step_size, (1, 2, 3, 4)) if self.form == 'official'
                             else images + self.step_size * gradient)
        return torch.stack(found), torch.stack(moved) if moved else None


def _rows(total: Tensor) -> Tensor:
    """``(P, F, h, w)`` -> ``(F·P, h, w)``, a copy."""
    return total.transpose(0, 1).flatten(0, 1).clone()


def region_maps(scores: Tensor, labels: Tensor, positive: Tensor) -> Tensor:
    """The maps of the published code: Grad-CAM of the sum of ReLU'd scores, in closed form.

    Its weights are gradients summed over positions and divided by the number of positive entries of the whole
    gradient. The gradient at a position is the class's weight vector where its score is positive and 0 elsewhere, so
    view b has ``ReLU(s_b) · N_b / (Σ_b N_b · K)``: N_b its positions of positive score, K the positive weights of the
    class. The factor counts as a constant.

    Args:
        scores: ``(B, F, C, h, w)`` class maps, logits, of F views that climb together.
        labels: ``(B,)`` class indices.
        positive: ``(C,)`` the number of positive weights of each class.

    Returns:
        ``(B, F, h, w)``, 0 where no score of the class is positive.
    """
    maps = own_maps(scores, labels).relu()
    counts = (maps.detach() > 0).sum((2, 3)).to(maps.dtype)
    share = counts / (counts.sum(1, keepdim=True) * positive[labels][:, None]).clamp_min(1)
    return maps * share[..., None, None]


def peak_maps(scores: Tensor, labels: Tensor) -> Tensor:
    """The maps of the text, each view's divided by its own maximum (eq. 2.1), which is differentiated too.

    Args:
        scores, labels: As of :func:`region_maps`.

    Returns:
        ``(B, F, h, w)``, signed; 0 where no score of the class is positive.
    """
    maps = own_maps(scores, labels)
    top = maps.amax((2, 3), keepdim=True)
    return torch.where(top > 0, maps / torch.where(top > 0, top, 1), 0)


def own_maps(scores: Tensor, labels: Tensor) -> Tensor:
    """Of class maps ``(B, F, C, h, w)`` those of the classes ``(B,)``: ``(B, F, h, w)``."""
    return scores[torch.arange(len(labels), device=scores.device), :, labels]


def merged_map(maps: Tensor) -> Tensor:
    """``(B, F, h, w)`` -> ``(B, h, w)``: the map, and, where there are two, that of the mirror image mirrored back."""
    return maps[:, 0] if maps.shape[1] == 1 else maps[:, 0] + maps[:, 1].flip(2)


def climbing_objective(logits: Tensor, labels: Tensor, current: Tensor, first: Tensor, regularization: float = 7.,
                       mask_threshold: float = .5, suppression: float = 1.) -> Tensor:
    """What climbing increases: the class's score, against other classes' and a change where the map is high (eq. 3.6).

    ``Σ_f [y_c - suppression · Σ_{k≠c} y_k] - λ Σ_u M_u |R_u - R_u(0)|`` with ``M = R > τ · max R``, a constant. Where
    R is 0 everywhere, so is M.

    Args:
        logits: ``(B, F, C)`` of F views.
        labels: ``(B,)`` class indices c.
        current: ``(B, h, w)``, R.
        first: ``(B, h, w)``, R of the image as it was.
        regularization: λ.
        mask_threshold: τ.
        suppression: Weight of the other classes' scores.

    Returns:
        ``(B,)``.
    """
    own = logits[torch.arange(len(labels), device=logits.device), :, labels]
    scores = (1 + suppression) * own - suppression * logits.sum(2)
    high = current > mask_threshold * current.amax((1, 2), keepdim=True)
    return scores.sum(1) - regularization * (high * (current - first).abs()).sum((1, 2))
