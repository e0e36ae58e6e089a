"""Localization by random selections of hidden units (FickleNet, Lee et al., CVPR 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization.localizer import Localizer, Views, number_ids
from wsss_mm.registry import TASK_UTILS

_AGGREGATES = ('max', 'count', 'mean', 'paper')
_WORD = 1 << 16
_MASK_NUMBERS = 1 << 20    # of the passes that are run together


def stochastic_grad_cam(taps: Tensor, kept: Tensor) -> Tensor:
    """The paper's Grad-CAM under several masks, ``ReLU(Σ_k x_k ∂S_c/∂x_k)`` times h·w, each map by its maximum.

    K·M·s²·h·w multiplications, as one product at each position; expansion, convolution and backward cost 2·C·D·s²·h·w
    and more for every mask.

    Args:
        taps: ``(h, w, s², K)``, see :meth:`~wsss_mm.models.heads.StochasticHead.tap_maps`.
        kept: ``(M, h, w, s²)`` bool, the units that are not dropped.

    Returns:
        ``(K, M, h, w)`` in [0, 1]; 0 where no position speaks for the class.
    """
    masks = kept.flatten(1, 2).transpose(0, 1).to(taps.dtype)
    maps = (masks @ taps.flatten(0, 1)).relu_().permute(2, 1, 0).unflatten(2, taps.shape[:2])
    return maps / maps.amax((2, 3), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


class MaskWords:
    """Random masks of one image, pass after pass: the 16-bit words of a PCG64, the same on every machine.

    Args:
        seed: Of the labelling run.
        image_id, scale, mirrored: Which image, and which view of it.
    """

    def __init__(self, seed: int, image_id: str, scale: float = 1., mirrored: bool = False) -> None:
        key = repr((int(seed), str(image_id), float(scale), bool(mirrored)))
        self._words = np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest(), 'little'))

    def kept(self, passes: int, height: int, width: int, taps: int, drop_prob: float) -> Tensor:
        """The next masks: ``(passes, h, w, s²)`` bool, True at all centres and elsewhere with probability 1 - p.

        p is rounded to 1/65536. Each pass takes its own words, so that it does not matter how many are drawn at once.
        """
        number = height * width * taps
        words = self._words.random_raw(passes * -(-number // 4)).astype('<u8', copy=False).view('<u2')
        kept = words.reshape(passes, -1)[:, :number] >= round(drop_prob * _WORD)
        kept = kept.reshape(passes, height, width, taps)
        kept[..., taps // 2] = True
        return torch.from_numpy(kept)


class _Total:
    """Maps of the passes so far, aggregated: maximum, sum, and passes above theta, each ``(P, h, w)``."""

    def __init__(self, zeros: Tensor, theta: float) -> None:
        self.passes, self.theta = 0, theta
        self.highest, self.sum, self.above = zeros, zeros, zeros

    def add(self, maps: Tensor) -> None:
        self.passes += 1
        self.highest = torch.maximum(self.highest, maps)
        self.sum = self.sum + maps
        self.above = self.above + (maps > self.theta)

    def read(self, aggregate: str) -> Tensor:
        if aggregate == 'max':
            return self.highest
        if aggregate == 'paper':
            return torch.where(self.highest > self.theta, (1 + self.sum / self.passes) / 2, 0)
        return (self.above if aggregate == 'count' else self.sum) / self.passes


@TASK_UTILS.register_module()
class StochasticCAM(Localizer):
    """Many Grad-CAM maps of an image, each with other hidden units dropped, as one map per class.

    A map is ``ReLU(Σ_k x_k ∂S_c/∂x_k)``, the gradient taken at every position (Grad-CAM takes its mean), divided by its
    maximum. The network runs once, and one product gives what every tap of the kernel contributes; a pass adds up those
    that its mask keeps, without expansion, convolution or backward. Maps are aggregated as they come, so memory does
    not grow with ``passes``.

    The masks depend on ``seed``, image id, scale, mirroring and the number of the pass alone: batches, order, shards
    and device do not change them. The maxima are those of a map at its own scale, so in
    :class:`~wsss_mm.localization.MultiScale` every scale, and the mirrored image, has passes of its own.

    Args:
        passes: N; 200 is the paper's as far as known.
        aggregate: Over the passes. ``'max'``: the largest value at every position, which more passes never lower; above
            a threshold, what any pass found. ``'count'``: the share of passes above ``theta``; above a threshold t,
            where their (1 - t)-quantile is above ``theta``. ``'mean'``: the average. ``'paper'``: ``(1 + mean) / 2``
            where the maximum is above ``theta``, 0 elsewhere. The best class of these is the paper's label: candidates
            by the maximum, of several the one of the largest mean. The 1/2 makes 1/4 the threshold at which candidates
            keep their size when enlarged bilinearly; at 0 they would grow by up to a cell. It goes with
            ``MultiScale(scales=(1.,), flip=False, normalize='none')``.
        theta: Of ``'count'`` and ``'paper'``.
        drop_prob: Of the passes; None is the head's.
        seed: Of the masks.

    Raises:
        ConfigError: no passes, another ``aggregate``, ``theta`` outside [0, 1) or ``drop_prob`` outside [0, 1].
    """

    def __init__(self, passes: int = 200, aggregate: str = 'max', theta: float = .35, drop_prob: float | None = None,
                 seed: int = 0) -> None:
        if passes < 1:
            raise ConfigError(f'StochasticCAM: passes={passes}', expected='1 or more')
        if aggregate not in _AGGREGATES:
            raise ConfigError(f'StochasticCAM: aggregate={aggregate!r}', expected=f'one of {", ".join(_AGGREGATES)}')
        if not 0 <= theta < 1:
            raise ConfigError(f'StochasticCAM: theta={theta}', expected='in [0, 1): the maximum of a map is 1')
        if drop_prob is not None and not 0 <= drop_prob <= 1:
            raise ConfigError(f'StochasticCAM: drop_prob={drop_prob}', expected='in [0, 1], or None')
        self.passes, self.aggregate, self.theta, self.drop_prob, self.seed = passes, aggregate, theta, drop_prob, seed

    def maps(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Tensor:
        """See :meth:`Localizer.maps`; these are in [0, 1].

        Raises:
            ConfigError: a head that drops nothing.
        """
        *_, total = self._running(model, inputs, tags, views)
        return total.read(self.aggregate)

    def trace(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Iterator[Tensor]:
        """The maps after 1, 2, … passes."""
        for total in self._running(model, inputs, tags, views):
            yield total.read(self.aggregate)

    def _running(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None) -> Iterator[_Total]:
        """The aggregate after each pass: one object, which changes."""
        taps = self._taps(model, inputs, tags)
        height, width, number, _ = taps[0].shape
        drop_prob = model.head.drop_prob if self.drop_prob is None else self.drop_prob
        # Masks are drawn row by row, each from words of its own; rows without a class need none.
        rows = [(z, MaskWords(self.seed, *view)) for z, view in zip(taps, row_views(len(inputs), views), strict=True)
                if z.shape[3]]
        together = max(1, _MASK_NUMBERS // (height * width * number))
        total = _Total(taps[0].new_zeros(int(tags.sum()), height, width), self.theta)
        for start in range(0, self.passes, together):
            count = min(together, self.passes - start)
            maps = [stochastic_grad_cam(z, words.kept(count, height, width, number, drop_prob).to(z.device))
                    for z, words in rows]
            for step in torch.cat([taps[0].new_zeros(0, count, height, width), *maps]).unbind(1):
                total.add(step)
                yield total

    @torch.no_grad()
    def _taps(self, model: Any, inputs: Tensor, tags: Tensor) -> list[Tensor]:
        """For each row ``(h, w, s², K)`` of its present classes."""
        head = model.head
        if not hasattr(head, 'tap_maps'):
            raise ConfigError(f"StochasticCAM: the classifier's head, {type(head).__name__}, drops nothing",
                              expected='StochasticHead',
                              fix="train a classifier with head=dict(type='wsss_mm.StochasticHead', …), or use CAM")
        feature_map = head.select(model.extract_feat(inputs))
        return [head.tap_maps(row, present, self.drop_prob) for row, present in zip(feature_map, tags, strict=True)]


def row_views(count: int, views: Views | None) -> list[tuple[str, float, bool]]:
    """Image id, scale and mirroring of every row of a network input of ``count`` rows."""
    if views is None:
        views = Views(number_ids(range(count)))
    return [(image_id, views.scale, mirrored) for mirrored in (False, True)[:1 + views.mirrored]
            for image_id in views.image_ids]
