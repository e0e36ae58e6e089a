"""Stochastic selection of hidden units, the head of FickleNet (Lee et al., CVPR 2019).

The paper expands the feature map: every s x s window gets a place of its own, a dropout drops positions of it (all
channels alike, never the window's centre), and a convolution with kernel and stride s makes class maps, whose mean is
the image logit. The layer is linear and the mask is shared by the channels, so whatever the method reads of it can be
had without expanding anything, exactly up to rounding. With ``z_{c,d}(q) = W_{c,:,d} · x_q``, what position q gives
class c through tap d, and ``m_d(q)``, the mask of the one window that sees q through tap d:

* the logit is ``b_c + 1/(h·w) Σ_q Σ_d m_d(q) z_{c,d}(q)``, which pools first and multiplies afterwards;
* the paper's Grad-CAM, ``ReLU(Σ_k x_k(q) ∂S_c/∂x_k(q))``, is ``ReLU(1/(h·w) Σ_d m_d(q) z_{c,d}(q))``.

Symbols: s the kernel's side, d one of its s² taps (row by row), q one of h·w positions. Masks ``(…, h, w, s²)`` are
laid out by the position that is seen, not by the window that sees it: tap d of window u sees ``u + d - s // 2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.base import BasePoolingHead, full_precision
from wsss_mm.registry import MODELS


def seen_by_taps(kernel_size: int, size: Sequence[int], device: torch.device | str = 'cpu') -> Tensor:
    """Whether the window that sees a position through a tap has its centre in the map: ``(h, w, s²)`` bool.

    Near the border some have not; these windows do not exist. Padding, which windows inside see, is 0 anyway.

    Args:
        kernel_size: s.
        size: ``(h, w)``.
        device: Of the result.
    """
    offsets = torch.arange(kernel_size, device=device) - kernel_size // 2

    def inside(length: int) -> Tensor:
        centre = torch.arange(length, device=device)[:, None] - offsets
        return (centre >= 0) & (centre < length)

    return (inside(size[0])[:, None, :, None] & inside(size[1])[None, :, None, :]).flatten(2)


def tap_factors(kernel_size: int, off_centre: float, like: Tensor) -> Tensor:
    """``(s²,)``: 1 at the centre, ``off_centre`` elsewhere; type and device of ``like``."""
    factors = like.new_full((kernel_size ** 2,), off_centre)
    factors[kernel_size ** 2 // 2] = 1
    return factors


def masked_logits(feature_map: Tensor, masks: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Spatial mean of the class maps that windows under masks give.

    The positions are pooled by the masks before the kernel is applied: D·s²·h·w multiplications and s²·(h·w + D)
    numbers of memory per image, where the expanded map needs C·D·s²·h·w and D·s²·h·w (279 MB, and as much again for its
    gradient, with 512 channels, 41 x 41 positions and s = 9). Float32 at least, also under autocast.

    Args:
        feature_map: ``(N, D, h, w)``.
        masks: ``(N, h, w, s²)``, or ``(h, w, s²)`` for all images alike; 0 where no window is.
        kernel: ``(C, D, s, s)``.
        bias: ``(C,)``.

    Returns:
        ``(N, C)``.
    """
    with torch.autocast(feature_map.device.type, enabled=False):
        features = full_precision(feature_map)
        share = masks.to(features.dtype) / feature_map.shape[2:].numel()
        pooled = features.flatten(2) @ share.flatten(-3, -2)
        return F.linear(pooled.flatten(1), kernel.flatten(1).to(features), bias)


@MODELS.register_module()
class StochasticHead(BasePoolingHead):
    """A convolution of s x s whose windows drop their positions at random, and global average pooling.

    In training mode :meth:`logits` draws a mask for every image, shared by channels and classes. Everything else is
    deterministic and takes the mean over all masks, which for a linear layer is its result with the taps' keep
    probability as the mask: logits in eval mode, class maps (of which the logits are the mean), Grad-CAM's weights.
    With ``drop_prob=0`` that is an ordinary padded convolution. Random maps of a trained network are drawn by
    :class:`~wsss_mm.localization.StochasticCAM`, whatever the mode.

    Args:
        kernel_size: s, odd: a window's centre is never dropped.
        drop_prob: p of the other positions. 0.9 is the paper's as far as known.
        rescale: ``'none'``, kept units as they are; ``'inverted'``, those beside the centre times 1 / (1 - p), so that
            the mean over masks is the kernel itself. The paper does not say.
        bias: Whether the convolution has one. It is part of the class maps, not of Grad-CAM.
        init_cfg: Default: PyTorch's own for a convolution.
        **options: As in :class:`BasePoolingHead`, without ``has_background``.

    Raises:
        ConfigError: an even kernel, a probability outside [0, 1], another ``rescale``, ``'inverted'`` with p = 1, or a
            background class.
    """

    def __init__(self, num_classes: int, in_channels: int, *, kernel_size: int = 9, drop_prob: float = .9,
                 rescale: str = 'none', bias: bool = True, init_cfg: dict | list[dict] | None = None, **options: Any
                 ) -> None:
        default = dict(type='Kaiming', layer='Conv2d', a=5 ** .5, mode='fan_in', nonlinearity='leaky_relu',
                       distribution='uniform')
        super().__init__(num_classes, in_channels, init_cfg=init_cfg or default, **options)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(f'StochasticHead: kernel_size={kernel_size}', expected='an odd number: windows have a '
                              'centre', fix=f'set kernel_size={max(kernel_size, 0) + 1}')
        if self.has_background:
            raise ConfigError('StochasticHead: has_background=True', expected='foreground classes alone',
                              fix='leave it out, or use BAPHead')
        if rescale not in ('none', 'inverted'):
            raise ConfigError(f'StochasticHead: rescale={rescale!r}', expected="'none' or 'inverted'")
        self.kernel_size, self.drop_prob, self.rescale = kernel_size, drop_prob, rescale
        self.kept_factor(drop_prob)
        self.classifier = nn.Conv2d(in_channels, num_classes, kernel_size, padding=kernel_size // 2, bias=bias)

    @property
    def weight_matrix(self) -> Tensor:
        """``(C, D)``: what a channel weighs for a class, all taps together, the mean over masks.

        It is the 1x1 classifier that gives the same class maps where features do not change within a window.
        """
        kernel = self.classifier.weight.flatten(2)
        return kernel @ self.mean_factors(kernel)

    def kept_factor(self, drop_prob: float) -> float:
        """What kept units beside the centre are multiplied by, at some drop probability.

        Raises:
            ConfigError: no probability, or 1 where kept units are scaled by 1 / (1 - p).
        """
        if not 0 <= drop_prob <= 1:
            raise ConfigError(f'drop_prob={drop_prob}', expected='a number in [0, 1]')
        if self.rescale == 'none':
            return 1.
        if drop_prob == 1:
            raise ConfigError("rescale='inverted' with drop_prob=1: kept units would be divided by 0",
                              fix="set rescale='none', or a smaller drop_prob")
        return 1 / (1 - drop_prob)

    def mean_factors(self, like: Tensor) -> Tensor:
        """Mean of the mask at each tap, ``(s²,)``: the keep probability times the factor of kept units."""
        return tap_factors(self.kernel_size, (1 - self.drop_prob) * self.kept_factor(self.drop_prob), like)

    def sample_masks(self, feature_map: Tensor) -> Tensor:
        """A mask for every image by torch's own generator: ``(N, h, w, s²)``, 0 where there is no window."""
        count, _, *size = feature_map.shape
        kept = torch.rand(count, *size, self.kernel_size ** 2, device=feature_map.device) >= self.drop_prob
        kept[..., self.kernel_size ** 2 // 2] = True
        kept &= seen_by_taps(self.kernel_size, size, feature_map.device)
        like = full_precision(feature_map[:0])
        return kept * tap_factors(self.kernel_size, self.kept_factor(self.drop_prob), like)

    def logits(self, feature_map: Tensor, masks: Tensor | None = None) -> Tensor:
        """``(N, D, h, w)`` -> ``(N, C)``, float32 at least.

        Args:
            feature_map: ``(N, D, h, w)``.
            masks: As :meth:`sample_masks` gives them. Default: these in training mode, else the mean over all masks.
        """
        if masks is None and self.training:
            masks = self.sample_masks(feature_map)
        elif masks is None:
            seen = seen_by_taps(self.kernel_size, feature_map.shape[2:], feature_map.device)
            masks = seen * self.mean_factors(full_precision(feature_map[:0]))
        return masked_logits(feature_map, masks, self.classifier.weight, self.classifier.bias)

    def tap_maps(self, feature_map: Tensor, classes: Tensor, drop_prob: float | None = None) -> Tensor:
        """``z``: what a position gives a class through a tap if the tap is kept, and if there is a window to take it.

        One product, D·K·s²·h·w multiplications; maps under masks are sums of it over the taps.

        Args:
            feature_map: ``(D, h, w)`` of one image.
            classes: Index of K classes, or ``(C,)`` bool.
            drop_prob: Another than the head's, which matters where kept units are scaled.

        Returns:
            ``(h, w, s², K)``, float32 at least.

        Raises:
            ConfigError: as :meth:`kept_factor`.
        """
        features = full_precision(feature_map).flatten(1)
        kernel = self.classifier.weight[classes].to(features)
        factor = self.kept_factor(self.drop_prob if drop_prob is None else drop_prob)
        seen = seen_by_taps(self.kernel_size, feature_map.shape[1:], feature_map.device)
        maps = (features.T @ kernel.permute(1, 2, 3, 0).flatten(1)).view(*seen.shape, len(kernel))
        return maps * (seen * tap_factors(self.kernel_size, factor, features))[..., None]

    def project(self, feature_map: Tensor) -> Tensor:
        """``(N, D, h, w)`` -> class maps ``(N, C, h, w)``, the mean over all masks."""
        kernel = self.classifier.weight
        kernel = kernel * self.mean_factors(kernel).view(self.kernel_size, self.kernel_size)
        return F.conv2d(feature_map, kernel, self.classifier.bias, padding=self.kernel_size // 2)

    def gradcam_weights(self, feature_map: Tensor, pairs: Tensor, create_graph: bool = False) -> Tensor:
        """Spatial means of the gradients of single logits, the mean over all masks; linear, so without a backward.

        They are the taps' sum, each weighed by its part of the map: Grad-CAM as usual, with pooled gradients, is the
        mean of the paper's maps before their ReLU, away from the border. Arguments and result as in the base class.
        """
        size = feature_map.shape[2:]
        seen = seen_by_taps(self.kernel_size, size, feature_map.device).flatten(0, 1)
        kernel = full_precision(self.classifier.weight)[pairs[:, 1]].flatten(2)
        weights = kernel @ (seen.to(kernel).mean(0) * self.mean_factors(kernel)) / size.numel()
        return weights if create_graph else weights.detach()
