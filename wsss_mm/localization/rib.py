"""RIB: class maps summed while the classifier is fitted to the image (Lee, Choi, Mok, Yoon, NeurIPS 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization.adaptation import AdaptedWeights, StageCache, known_features
from wsss_mm.localization.auxiliary_images import AuxiliaryImages
from wsss_mm.localization.localizer import ImageLocalizer, number_ids
from wsss_mm.localization.multi_scale import normalised, resized
from wsss_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class RIB(ImageLocalizer):
    """Sums the maps of another localizer over ``steps`` sets of weights θ_k, fitted to the image step by step.

    The loss has no saturating end (:func:`rib_loss`), so regions that classification does not need any more gain
    score too; :func:`gndrp` leaves out of it what has a high score already. An image starts from the classifier's own
    weights, which are never written to; what happens to one image has no influence on another. Training images of
    other classes join every step, so that the weights do not forget what is background.

    A step is a forward and a backward of the image's views and of the other images; these are most of the work. Of
    ``steps`` maps, ``steps - 1`` updates: the published code also makes the last, of which no map is taken, and the one
    after which it stops. Stages before the first trained one are run once for each view
    (:class:`~wsss_mm.localization.adaptation.StageCache`), and :class:`~wsss_mm.localization.CAM` inside gets the
    features that the loss was computed from.

    Args:
        localizer: Config of an :class:`ImageLocalizer` such as MultiScale, or one. The ReLU of its raw maps is summed.
        dataset: Config of the data set that the classifier was trained on, with that pipeline, from which the
            other images of each step are drawn; None for the image alone.
        steps: K, the sets of weights.
        lr: λ, of the first update; it falls as ``(1 - k/K) ** power``. 0 for ``power`` is the text's constant rate.
        head_lr_mult: Factor of the rate below ``head``.
        momentum, weight_decay: Of SGD. The published code passes the weight decay where SGD takes the momentum.
        power: See ``lr``.
        auxiliary: Other images of each step.
        disjoint: They share no class with the image, as in the code; False: any other image, as in the text. See
            :class:`~wsss_mm.localization.auxiliary_images.AuxiliaryImages`.
        trained: Parts of the model that move, dotted names.
        target_scales: Sizes at which the image, plain and mirrored, is in the loss.
        pooling: ``'gndrp'``, or ``'gap'``, plain means.
        ratio, divisor: Of :func:`gndrp`; ``'kept'`` is the text's divisor.
        gndrp_classes: GNDRP of the first so many classes, plain means of others: 20 in the published code for COCO.
        margin: m of :func:`rib_loss`; the text's is 600, the code has none.
        stop_logit: Stop when the sum of the logits of the present classes over the image's rows is beyond; None: never.
        stop_area: Stop when, from the second step on, the class maps at scale 1 cover more than this share of the
            image at ``area_ratio`` of their maxima; None: never.
        area_ratio: See ``stop_area``.
        even_scales: The step at which ``stop_area`` is exceeded gives no map at all. As published it still gives
            one at scale 1, which then has one more than other scales.
        normalize_steps: Divide the maps of a step by the largest value of their class, as the text does, so that
            all steps weigh alike; later ones are larger.
        map_steps: The k at which maps are taken, from 0; None for all. For a localizer that is dear itself: no code
            for the combination with AdvCAM was published, here the image climbs at each θ_k of ``map_steps``. An
            image that stops before the first of them gives the maps of its last weights.
        seed: Of the draws of other images.
        num_workers: Processes that load them.

    Raises:
        ConfigError: a number out of its range, another ``pooling`` or ``divisor``, a localizer of single inputs.
    """

    def __init__(self, localizer: dict | ImageLocalizer, dataset: dict | None = None, steps: int = 10,
                 lr: float = 8e-6, head_lr_mult: float = 10., momentum: float = 1e-4, weight_decay: float = 1e-4,
                 power: float = .9, auxiliary: int = 20, disjoint: bool = True,
                 trained: Sequence[str] = ('backbone.layer3', 'backbone.layer4', 'head'),
                 target_scales: Sequence[float] = (1., 1.5, 2.), pooling: str = 'gndrp', ratio: float = .4,
                 divisor: str = 'all', gndrp_classes: int | None = None, margin: float | None = None,
                 stop_logit: float | None = 600., stop_area: float | None = .7, area_ratio: float = .3,
                 even_scales: bool = False, normalize_steps: bool = False, map_steps: Sequence[int] | None = None,
                 seed: int = 0, num_workers: int = 2) -> None:
        built = TASK_UTILS.build(localizer) if isinstance(localizer, dict) else localizer
        for name, value, fits, expected in (
                ('localizer', type(built).__name__, isinstance(built, ImageLocalizer),
                 "one of whole images, such as dict(type='wsss_mm.MultiScale', localizer=…)"),
                ('steps', steps, steps >= 1, '1 or more'), ('lr', lr, lr > 0, 'above 0'),
                ('auxiliary', auxiliary, auxiliary >= 0, '0 or more'),
                ('trained', tuple(trained), len(trained) > 0, 'one or more parts of the model'),
                ('target_scales', tuple(target_scales), len(target_scales) > 0 and min(target_scales) > 0,
                 'one or more numbers above 0'),
                ('pooling', repr(pooling), pooling in ('gndrp', 'gap'), "'gndrp' or 'gap'"),
                ('ratio', ratio, ratio > 0, 'above 0'), ('divisor', repr(divisor), divisor in ('all', 'kept'),
                                                         "'all' or 'kept'"),
                ('map_steps', map_steps, map_steps is None or len(map_steps) and
                 all(0 <= k < steps for k in map_steps), f'numbers from 0 to {steps - 1}, or None')):
            if not fits:
                raise ConfigError(f'RIB: {name}={value}', expected=expected)
        self.localizer: ImageLocalizer = built
        self.others = AuxiliaryImages(dataset, auxiliary, disjoint, seed, num_workers)
        self.steps, self.lr, self.head_lr_mult, self.power = steps, lr, head_lr_mult, power
        self.momentum, self.weight_decay = momentum, weight_decay
        self.trained, self.target_scales = tuple(trained), tuple(target_scales)
        self.pooling, self.ratio, self.divisor, self.gndrp_classes = pooling, ratio, divisor, gndrp_classes
        self.margin, self.stop_logit, self.stop_area, self.area_ratio = margin, stop_logit, stop_area, area_ratio
        self.even_scales, self.normalize_steps = even_scales, normalize_steps
        self.map_steps = frozenset(range(steps) if map_steps is None else map_steps)

    def raw_maps(self, model: Any, images: Sequence[np.ndarray], tags: Tensor, image_ids: Sequence[str] | None = None
                 ) -> list[list[Tensor]]:
        """The network's half, see :meth:`ImageLocalizer.raw_maps`; image by image.

        An image without tags is not adapted to. Where weights or maps are not finite any more, an image keeps what
        was summed until then.

        Raises:
            ConfigError: a part in ``trained`` that there is not, or that the class maps do not depend on; a data set
                of other classes; see also the localizer.
            DataError: images of different sizes, or another image that cannot be read.
        """
        ids = number_ids(images) if image_ids is None else image_ids
        found = []
        for image, present, image_id in zip(images, tags, ids, strict=True):
            *_, last = self.trace(model, image, present, image_id)
            found.append(last)
        return found

    def merge(self, raw: Sequence[Tensor], height: int, width: int) -> Tensor:
        """The workers' half: that of the localizer inside."""
        return self.localizer.merge(raw, height, width)

    def trace(self, model: Any, image: np.ndarray, tags: Tensor, image_id: str = '0') -> Iterator[list[Tensor]]:
        """The maps summed up to each step at which some were taken; see :meth:`ImageLocalizer.trace`.

        Between the steps, the model is as it was.
        """
        tags = tags.bool()
        if not tags.any():
            yield self._found(model, image, tags, image_id)
            return
        adapted = AdaptedWeights(model, self.trained)
        cache = StageCache(model.backbone, adapted, len({*self.target_scales, *getattr(self.localizer, 'scales', ())}))
        optimizer = self._optimizer(adapted)
        end = max(self.map_steps)
        others = self.others.batches(model, image_id, tags, end)
        plain = [normalised(model, [resized(image, scale)]) for scale in self.target_scales]
        views = [torch.cat([view, view.flip(3)]) for view in plain]
        reference = self.target_scales.index(1.) if 1. in self.target_scales else 0
        labels = tags.to(views[0]).repeat(2, 1)
        total: list[Tensor] = []
        for step in range(end + 1):
            with adapted.installed(), torch.set_grad_enabled(step < end):
                # At the end nothing but the area is asked for.
                seen = views if step < end else views[reference:reference + 1]
                with cache.used(learn=step == 0):
                    feats = [model.extract_feat(view) for view in seen]
                maps = [model.head.class_maps(found) for found in feats]
                logits = [self._pooled(found, labels) for found in maps]
                own = maps[reference if step < end else 0].detach()
                full = step > 0 and self.stop_area is not None and \
                    covered(own[:, tags], self.area_ratio) > self.stop_area
                score = sum(float((labels * found.detach()).sum()) for found in logits)
                if not math.isfinite(score):
                    break
                ends = step == end or full or self.stop_logit is not None and abs(score) > self.stop_logit
                if step in self.map_steps or ends and not total:
                    with cache.used(), known_features(model, seen, feats):
                        raw = self._found(model, image, tags, image_id)
                    if total and not all(found.isfinite().all() for found in raw):
                        break
                    total = self._summed(total, raw, full)
                if not ends:
                    loss = rib_loss(torch.cat(logits), labels.repeat(len(views), 1), self.margin)
                    self._update(model, adapted, optimizer, loss, next(others, None), step)
            if total:
                yield total
            if ends:
                return
        if not total:
            yield self._found(model, image, tags, image_id)

    def _found(self, model: Any, image: np.ndarray, tags: Tensor, image_id: str) -> list[Tensor]:
        """The localizer's maps at the weights as they are, for each scale ``(K, F, h, w)``, not negative."""
        with torch.no_grad():
            raw = [found.relu() for found in self.localizer.raw_maps(model, [image], tags[None], [image_id])[0]]
        if self.normalize_steps and tags.any():
            top = torch.stack([found.amax((1, 2, 3)) for found in raw]).amax(0)
            raw = [found / (top[:, None, None, None] + 1e-5) for found in raw]
        return raw

    def _summed(self, total: list[Tensor], raw: list[Tensor], full: bool) -> list[Tensor]:
        if not total:
            return raw
        if not full:
            return [a + b for a, b in zip(total, raw, strict=True)]
        if self.even_scales:
            return total
        scales = getattr(self.localizer, 'scales', ())
        first = scales.index(1.) if 1. in scales else 0
        return [a + b if i == first else a for i, (a, b) in enumerate(zip(total, raw, strict=True))]

    def _pooled(self, class_maps: Tensor, tags: Tensor) -> Tensor:
        if self.pooling == 'gap':
            return class_maps.mean((2, 3))
        chosen = tags > 0
        if self.gndrp_classes is not None:
            chosen = chosen & (torch.arange(tags.shape[1], device=tags.device) < self.gndrp_classes)
        return gndrp(class_maps, chosen, self.ratio, self.divisor)

    def _optimizer(self, adapted: AdaptedWeights) -> torch.optim.Optimizer:
        groups: dict[float, dict[int, Any]] = {}
        for name, copy in adapted.copies.items():
            rate = self.lr * (self.head_lr_mult if name.split('.')[0] == 'head' else 1)
            groups.setdefault(rate, {})[id(copy)] = copy
        return torch.optim.SGD([dict(params=list(copies.values()), lr=rate, first_lr=rate)
                                for rate, copies in groups.items()],
                               lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def _update(self, model: Any, adapted: AdaptedWeights, optimizer: torch.optim.Optimizer, loss: Tensor,
                batch: tuple[Tensor, Tensor] | None, step: int) -> None:
        """θ_k -> θ_k+1. The image's graph is gone before that of the other images is made."""
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
        if step == 0:
            adapted.check_gradients()
        if batch is not None:
            inputs, tags = batch
            maps = model.head.class_maps(model.extract_feat(inputs))
            if maps.shape[1] != tags.shape[1]:
                raise ConfigError(f'RIB: other images have tags of {tags.shape[1]} classes, the classifier has '
                                  f'{maps.shape[1]}', expected='the data set that it was trained on')
            rib_loss(self._pooled(maps, tags), tags, self.margin).backward()
        for group in optimizer.param_groups:
            group['lr'] = group['first_lr'] * (1 - step / self.steps) ** self.power
        optimizer.step()


def gndrp(class_maps: Tensor, tags: Tensor, ratio: float = .4, divisor: str = 'all') -> Tensor:
    """Global non-discriminative region pooling: means of what is below a share of a map's maximum (section 3.4.3).

    Which positions these are is a constant. A class that is negative everywhere keeps nothing, so it has score 0 and
    no gradient, as in the published code; as there, a map whose maximum is 0 keeps its negative positions.

    The published loop takes the maximum of each of M·C maps by itself, and waits for each on a GPU; here it is three
    passes over M·C·h·w numbers, at least one of which every pooling takes.

    Args:
        class_maps: ``(M, C, h, w)`` logits.
        tags: ``(M, C)``, above 0 where a class is present; the others' maps are averaged plainly.
        ratio: τ, the share.
        divisor: ``'all'`` positions, as in the published code, or the ``'kept'`` ones, as in the text.

    Returns:
        ``(M, C)``.
    """
    scores = class_maps.detach()
    top = scores.amax((2, 3), keepdim=True)
    flat = top == 0
    kept = torch.where(flat, scores < 0, scores / torch.where(flat, 1, top) < ratio) | (tags <= 0)[:, :, None, None]
    pooled = class_maps.masked_fill(~kept, 0).mean((2, 3))
    return pooled if divisor == 'all' else pooled * kept[0, 0].numel() / kept.sum((2, 3)).clamp_min(1)


def rib_loss(logits: Tensor, tags: Tensor, margin: float | None = None) -> Tensor:
    """``L_RIB = -Σ t_c min(m, y_c)``, over all rows (section 3.4.3).

    Args:
        logits: ``(M, C)``.
        tags: ``(M, C)``, 1 where a class is present.
        margin: m; None, as in the published code, for none.

    Returns:
        A scalar.
    """
    return -(tags * (logits if margin is None else logits.clamp_max(margin))).sum()


def covered(maps: Tensor, ratio: float = .3) -> float:
    """Share of an image that its class maps cover.

    Args:
        maps: ``(2, K, h, w)`` logits of an image and its mirror image, of the K classes present.
        ratio: Share of a class's maximum above which a position counts; maps are ReLU'd and added up first.

    Returns:
        A number in [0, 1].
    """
    merged = maps[0].relu() + maps[1].relu().flip(2)
    return (merged / (merged.amax((1, 2), keepdim=True) + 1e-5) > ratio).any(0).float().mean().item()
