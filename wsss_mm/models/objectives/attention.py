"""Attention maps that training looks at, their targets and losses (GAIN: Li et al., TPAMI 2020, section 3).

P counts (image, class) pairs of a batch, one attention map each; ``image_index`` ``(P,)`` int64 names the image of
every pair. Everything is computed in float32, in float64 where the input is so, also under autocast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.base import BasePoolingHead, full_precision

_SCORES = ('logit', 'sigmoid', 'softmax')
_REDUCTIONS = ('mean', 'sum')


def gradcam(features: Tensor, weights: Tensor, image_index: Tensor) -> Tensor:
    """``A^c = ReLU(sum_k w^c_k f_k)``, Eq. (2).

    Cost: a copy of the feature map for each pair, and one product; the floor reads the map once per image.

    Args:
        features: ``(N, D, h, w)``.
        weights: ``(P, D)``, see ``BasePoolingHead.gradcam_weights``.
        image_index: ``(P,)``.

    Returns:
        ``(P, h, w)``, not below 0.
    """
    with torch.autocast(features.device.type, enabled=False):
        maps = full_precision(features).index_select(0, image_index)
        attention = torch.bmm(weights.to(maps.dtype)[:, None], maps.flatten(2))
        return attention.relu().view(len(maps), *maps.shape[2:])


def class_attention(head: BasePoolingHead, features: Tensor, pairs: Tensor, grad_through_weights: bool = False
                    ) -> Tensor:
    """Attention maps of a batch by Grad-CAM, the logit being the target.

    Args:
        head: The classifier's head.
        features: ``(N, D, h, w)``, the map it works on.
        pairs: ``(P, 2)`` int64, image index and class index.
        grad_through_weights: Differentiate the weights too, a second derivative of the head. Where the head is
            piecewise linear in the features (pooling, linear layers, ReLU) the weights do not depend on these almost
            everywhere, so the gradient of the backbone is the same without; only the head's own gradient differs.

    Returns:
        ``(P, h, w)``, not below 0.
    """
    return gradcam(features, head.gradcam_weights(features, pairs, create_graph=grad_through_weights), pairs[:, 0])


def minmax_normalize(attention: Tensor, eps: float = 1e-12, detach: bool = False) -> Tensor:
    """Each map to [0, 1] by its own extremes.

    Args:
        attention: ``(P, h, w)``.
        eps: Added to the range of the values.
        detach: Take the extremes for constants; the published ports differ, and the gradient's direction with them.

    Returns:
        ``(P, h, w)``; 0 throughout, and without gradient, where a map is constant up to rounding.
    """
    extremes = attention.detach() if detach else attention
    low, high = extremes.amin((1, 2), keepdim=True), extremes.amax((1, 2), keepdim=True)
    span = high - low
    rounding = 16 * torch.finfo(attention.dtype).eps * torch.maximum(low.abs(), high.abs())
    flat = (span <= rounding.clamp_min(eps)).detach()
    return torch.where(flat, 0, (attention - low) / torch.where(flat, 1, span + eps))


def soft_mask(attention: Tensor, omega: float = 10., sigma: float = .5) -> Tensor:
    """``T = sigmoid(omega (A - sigma))``, Eq. (4): near 1 where the image is to be masked.

    Args:
        attention: ``(P, H, W)`` in [0, 1].
        omega: Steepness. At 100 the gradient is gone except at the threshold.
        sigma: Threshold.

    Returns:
        ``(P, H, W)`` in (0, 1).
    """
    return (omega * (attention - sigma)).sigmoid()


def per_image_mean(values: Tensor, image_index: Tensor, num_images: int, kept: Tensor | None = None) -> Tensor:
    """Mean over the pairs of each image, then over the images that have any; 0 if there are none.

    Args:
        values: ``(P,)``.
        image_index: ``(P,)``.
        num_images: N.
        kept: ``(P,)`` bool, the pairs that count; all by default.

    Returns:
        A scalar.
    """
    kept = torch.ones_like(values, dtype=torch.bool) if kept is None else kept
    counts = values.new_zeros(num_images).index_add_(0, image_index, kept.to(values.dtype))
    shares = kept / counts.clamp_min(1)[image_index]
    return (shares * torch.where(kept, values, 0)).sum() / (counts > 0).sum().clamp_min(1)


def l_am(logits: Tensor, pairs: Tensor, num_images: int, score: str = 'sigmoid') -> Tensor:
    """Attention mining loss ``L_am = (1/n) sum_c s^c(I*^c)``, Eq. (5), averaged over the images.

    Args:
        logits: ``(P, C)`` of each pair's masked image.
        pairs: ``(P, 2)`` int64, image index and class index.
        num_images: N, of the batch.
        score: What s is. ``'sigmoid'`` or ``'softmax'`` of the logits, as in the published ports, or the
            ``'logit'`` itself, which is unbounded below: a network can lower it without end by recognising nothing.

    Returns:
        A scalar, 0 without pairs.

    Raises:
        ConfigError: another ``score``.
    """
    check_option('score', score, _SCORES)
    logits = full_precision(logits)
    scores = dict(logit=lambda x: x, sigmoid=torch.sigmoid, softmax=lambda x: x.softmax(1))[score](logits)
    return per_image_mean(scores.gather(1, pairs[:, 1:])[:, 0], pairs[:, 0], num_images)


def l_p(attention: Tensor, target: Tensor, image_index: Tensor, num_images: int, valid: Tensor | None = None,
        kept: Tensor | None = None, reduction: str = 'mean') -> Tensor:
    """Attention loss against masks ``L_p = (1/n) sum_c (A^c - H^c)^2``, Eq. (7), averaged over the images.

    Args:
        attention: ``(P, h, w)``; the paper does not normalise it, and the loss then depends on its scale.
        target: ``(P, h, w)`` in [0, 1], the share of each cell that is of the class.
        image_index: ``(P,)``.
        num_images: N.
        valid: ``(P, h, w)`` in [0, 1], weight of each cell: the share that is not ignored. All 1 by default.
        kept: ``(P,)`` bool, the pairs that count; all with any valid cell by default.
        reduction: ``'mean'`` over the valid cells, or their ``'sum'``, as the paper writes it.

    Returns:
        A scalar.

    Raises:
        ConfigError: another ``reduction``.
    """
    valid = torch.ones_like(attention) if valid is None else valid
    return _attention_loss(valid * (attention - target).square(), valid, image_index, num_images, kept, reduction)


def l_bbox(attention: Tensor, boxes: Tensor, prior: Tensor, image_index: Tensor, num_images: int,
           valid: Tensor | None = None, prior_valid: Tensor | None = None, kept: Tensor | None = None,
           reduction: str = 'mean') -> Tensor:
    """``L_bbox = (1/n) sum_c {[(1 - B^c) A^c]^2 + [B^c (A^c - S)]^2}``, Eq. (9), averaged over the images.

    Args:
        attention: ``(P, h, w)``.
        boxes: ``(P, h, w)`` in [0, 1], B: the share of each cell inside the boxes of the class.
        prior: ``(P, h, w)`` in [0, 1], S: the foreground prior of each pair's image.
        image_index: ``(P,)``.
        num_images: N.
        valid: ``(P, h, w)`` in [0, 1], weight of each cell. All 1 by default.
        prior_valid: ``(P, h, w)`` in [0, 1], weight of each cell in the second term. As ``valid`` by default.
        kept: ``(P,)`` bool, the pairs that count; all with any valid cell by default.
        reduction: ``'mean'`` over the valid cells, or ``'sum'``, as the paper writes it.

    Returns:
        A scalar.

    Raises:
        ConfigError: another ``reduction``.
    """
    valid = torch.ones_like(attention) if valid is None else valid
    prior_valid = valid if prior_valid is None else prior_valid
    errors = valid * ((1 - boxes) * attention).square() + prior_valid * (boxes * (attention - prior)).square()
    return _attention_loss(errors, valid, image_index, num_images, kept, reduction)


def area_resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Mean of each cell, where cells divide the map evenly and pixels count by the part inside the cell.

    Two matrix products, M·h·H·W + M·h·W·w multiplications. ``F.interpolate(mode='area')`` touches each pixel about
    once, but counts pixels between two cells in both as a whole; it is the same for whole ratios.

    Args:
        maps: ``(M, H, W)``, floating point.
        size: ``(h, w)``.

    Returns:
        ``(M, h, w)``; the mean of a map stays.
    """
    height, width = maps.shape[1:]
    if (height, width) == tuple(size):
        return maps
    with torch.autocast(maps.device.type, enabled=False):
        return _overlaps(height, size[0], maps) @ maps @ _overlaps(width, size[1], maps).T


def box_union(boxes: Tensor, group: Tensor, count: int, height: int, width: int) -> Tensor:
    """Union of the boxes of each group on the pixel grid; a box covers every pixel that it touches.

    Two running sums over the groups' maps, whatever the number of boxes; comparing all pixels with all boxes would
    cost K·H·W. The union is exact. A product of the overlaps along x and y would give each box's share of a cell
    without any pixel, but not the share of several boxes that overlap.

    Args:
        boxes: ``(K, 4)`` ``x1, y1, x2, y2`` in pixels, half-open.
        group: ``(K,)`` int64; boxes of group ``count`` are left out.
        count: Number of groups.
        height, width: The image's size.

    Returns:
        ``(count, H, W)`` float32, 0 or 1.
    """
    limit = boxes.new_tensor([width, height])
    low = boxes[:, :2].floor().clamp_min(0).minimum(limit).long()
    high = boxes[:, 2:].ceil().clamp_min(0).minimum(limit).long().maximum(low)
    (x1, y1), (x2, y2) = low.unbind(1), high.unbind(1)
    corners = torch.zeros(count + 1, height + 1, width + 1, device=boxes.device)
    signs = torch.tensor([1., -1., -1., 1.], device=boxes.device).repeat_interleave(len(boxes))
    corners.index_put_((group.repeat(4), torch.cat([y1, y1, y2, y2]), torch.cat([x1, x2, x1, x2])), signs,
                       accumulate=True)
    return (corners[:count, :height, :width].cumsum(1).cumsum(2) > .5).float()


def check_option(name: str, value: str, expected: Sequence[str]) -> None:
    """Raise ``ConfigError`` unless ``value`` is one of ``expected``."""
    if value not in expected:
        raise ConfigError(f'{name}={value!r}', expected=' or '.join(map(repr, expected)))


def _attention_loss(errors: Tensor, valid: Tensor, image_index: Tensor, num_images: int, kept: Tensor | None,
                    reduction: str) -> Tensor:
    """``(P, h, w)`` errors, weighted already -> a scalar."""
    check_option('reduction', reduction, _REDUCTIONS)
    area = valid.sum((1, 2))
    kept = area > 0 if kept is None else kept & (area > 0)
    values = errors.sum((1, 2))
    if reduction == 'mean':
        values = values / torch.where(kept, area, 1)
    return per_image_mean(values, image_index, num_images, kept)


def _overlaps(length: int, cells: int, like: Tensor) -> Tensor:
    """``(cells, length)``: the part of each cell that each pixel fills."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * length / cells
    pixels = torch.arange(length)
    parts = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return (parts.clamp_min(0) * cells / length).to(like)
