"""Saliency from gradients (Simonyan et al., ICLR workshop 2014), by which SEC finds background."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization.grad_cam import find_layer, graph_from


def gradient_saliency(model: Any, inputs: Tensor, layer: str) -> Tensor:
    """Largest gradient over channels of the sum of all class scores, at a layer inside the network.

    SEC takes VGG-16's conv4_1 (``layer='backbone.features.17'``), of which 321 pixels give 41. All classes are summed,
    absent ones too, as in its code. Cost: a forward, and a backward down to the layer.

    Args:
        model: A classifier in eval mode; gradients may be off.
        inputs: ``(N, 3, H, W)``, normalised.
        layer: Dotted name of a module that gives a map ``(N, D, h, w)``.

    Returns:
        ``(N, h, w)`` float32.

    Raises:
        ConfigError: a layer that there is not, that gives no map, or that the scores do not depend on.
    """
    taken: list[Tensor] = []
    with graph_from(find_layer(model, layer, 'gradient saliency'), taken):
        scores = model.head(model.extract_feat(inputs))
    maps = [tensor for tensor in taken if tensor.dim() == 4 and len(tensor) == len(inputs)]
    gradient = None
    if maps and scores.requires_grad:
        gradient, = torch.autograd.grad(scores, maps[-1], torch.ones_like(scores), allow_unused=True)
    if gradient is None:
        raise ConfigError(f'gradient saliency: {layer!r} gives no map (N, D, h, w) that the class scores depend on',
                          expected='a convolution, or a block, between the image and the class scores',
                          fix='choose another of dict(model.named_modules())')
    return gradient.detach().abs().amax(1).float()


def least_salient(saliency: np.ndarray, share: float = .1) -> np.ndarray:
    """The positions of the lowest saliency, after a 3 x 3 median.

    Args:
        saliency: ``(h, w)``.
        share: Of all positions, rounded down; of equal ones the first in reading order.

    Returns:
        ``(h, w)`` bool.
    """
    smooth = ndimage.median_filter(saliency, size=3).ravel()
    lowest = np.zeros(smooth.shape, bool)
    lowest[np.argsort(smooth, kind='stable')[:int(share * smooth.size)]] = True
    return lowest.reshape(saliency.shape)
