"""Erasing and triplet maths of AEFT (Yoon et al., ECCV 2022, §3.4): pure functions on tensors.

An anchor image, the same image with its confident regions erased (positive), and an image that shares no class with it
(negative) are embedded by spatial means of their pooled maps. Everything is computed in float32 at least.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.heads.base import full_precision, present_pairs
from wsss_mm.models.objectives.attention import check_option

DISTANCES = ('l1', 'l2', 'mse')
_EPS = 1e-5


def min_max_norm(maps: Tensor) -> Tensor:
    """Maps ``(..., h, w)`` stretched to [0, 1), each by itself; a constant map becomes 0."""
    maps = full_precision(maps)
    # By index: the gradients of amin and amax compare every pixel with the extremum.
    pixels = maps.flatten(-2)
    low, high = (extremum.values[..., None, None] for extremum in (pixels.min(-1), pixels.max(-1)))
    return F.relu(maps - low - _EPS) / (high - low + _EPS)


def erasing_mask(class_maps: Tensor, tags: Tensor, size: Sequence[int], t_high: float = .6) -> Tensor:
    """What an image is multiplied by to erase its confident regions, eq. (6)-(7).

    The foreground map is the maximum over the tagged classes of the rectified, up-sampled and stretched class maps;
    the mask is that map, and 0 where it is ``t_high`` or more. So background is darkened too. Only the tagged classes
    are up-sampled: one map of the image's size for each tag of the batch, in place of ``N·C``; finding them is one
    read from the device. Differentiable; the published code lets the gradient through.

    Args:
        class_maps: ``(N, C, h, w)`` logits.
        tags: ``(N, C)`` multi-hot.
        size: Height and width of the image.
        t_high: Threshold of the confident regions.

    Returns:
        ``(N, 1, H, W)`` in [0, ``t_high``); all 0 for an image without tags or without positive evidence.
    """
    image, label = present_pairs(tags).unbind(1)
    maps = F.relu(full_precision(class_maps)[image, label])
    maps = min_max_norm(F.interpolate(maps[:, None], size=tuple(size), mode='bilinear', align_corners=False))[:, 0]
    foreground = maps.new_zeros(len(tags), *size)
    foreground = foreground.scatter_reduce(0, image[:, None, None].expand_as(maps), maps, 'amax')[:, None]
    return torch.where(foreground < t_high, foreground, 0)


def low_confidence(class_maps: Tensor, tags: Tensor, t_low: float = .2) -> Tensor:
    """``(N, C, h, w)`` boolean: where a class's stretched map is below ``t_low``; everywhere for absent classes.

    Args:
        class_maps: ``(N, C, h, w)`` logits.
        tags: ``(N, C)`` multi-hot.
        t_low: Threshold.
    """
    return min_max_norm(F.relu(class_maps.detach())) * tags[:, :, None, None] < t_low


def scale_by_peak(maps: Tensor) -> Tensor:
    """Maps ``(..., h, w)`` divided by their largest magnitude, each by itself; 0 stays 0."""
    maps = full_precision(maps)
    return maps / (maps.abs().amax((-2, -1), keepdim=True) + _EPS)


def embed(maps: Tensor, region: Tensor | None = None, tags: Tensor | None = None, unit: bool = False) -> Tensor:
    """Spatial means ``(N, C)``, eq. (8).

    Args:
        maps: ``(N, C, h, w)``.
        region: ``(N, C, h, w)`` boolean: mean over these pixels alone; 0 where there is none.
        tags: ``(N, C)`` multi-hot: 0 for all other classes.
        unit: Scale every row to length 1.
    """
    maps = full_precision(maps)
    if region is None:
        means = maps.mean((2, 3))
    else:
        means = torch.where(region, maps, 0).sum((2, 3)) / region.sum((2, 3)).clamp_min(1)
    if tags is not None:
        means = means * tags
    return F.normalize(means, dim=1) if unit else means


def sample_negatives(tags: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """For every image another one of the batch that shares no class with it, all such being equally likely.

    ``O(N²)`` elementwise work without waiting for the device; the published loop reads ``N²`` values from it (1,024 a
    step). That loop also mis-assigns or fails where an image has no negative. Images without tags take no part.

    Args:
        tags: ``(N, C)`` multi-hot.
        generator: Random numbers, on the device of ``tags``.

    Returns:
        ``index`` ``(N,)`` int64, and ``valid`` ``(N,)`` boolean: False where there is no negative; the index is then
        of no meaning.
    """
    tags = tags.float()
    some = tags.any(1)
    allowed = (tags @ tags.T == 0) & some & some[:, None]
    draws = torch.rand(allowed.shape, generator=generator, device=tags.device)
    return torch.where(allowed, draws, -1).argmax(1), allowed.any(1)


def distances(first: Tensor, second: Tensor, kind: str) -> Tensor:
    """Distances ``(N,)`` between rows ``(N, C)``.

    Args:
        first, second: Embeddings.
        kind: ``'l1'``: mean over classes of the magnitude; ``'l2'``: squared Euclidean; ``'mse'``: mean over classes
            of the square.

    Raises:
        ConfigError: another ``kind``.
    """
    check_option('distance', kind, DISTANCES)
    difference = first - second
    if kind == 'l1':
        return difference.abs().mean(1)
    return difference.square().sum(1) if kind == 'l2' else difference.square().mean(1)


def attract_loss(anchor: Tensor, positive: Tensor, distance: str = 'l1') -> Tensor:
    """Mean distance of images and their erased selves, eq. (9).

    Args:
        anchor, positive: ``(N, C)``.
        distance: See :func:`distances`. ``'l1'`` is the published code's, the others are readings of the paper.
    """
    return distances(anchor, positive, distance).mean()


def repel_loss(anchor: Tensor, negative: Tensor, valid: Tensor, margin: float = .5, distance: str = 'l2',
               hard_only: bool = True, min_hard: float = 4) -> tuple[Tensor, Tensor]:
    """Hinge ``max(margin - distance, 0)``, eq. (10).

    Args:
        anchor, negative: ``(N, C)``, paired row by row.
        valid: ``(N,)`` boolean, rows that have a negative; others are left out.
        margin: Distance beyond which a pair is left alone.
        distance: See :func:`distances`. ``'mse'`` of unit vectors is 4/C at most, so that the hinge never lets go.
        hard_only: Mean over the hard rows (``distance < margin``) as in the published code, instead of over all.
        min_hard: With ``hard_only``: the loss is 0 unless more than so many rows are hard; below 1, a share of the
            batch. The published code has 4 of 32.

    Returns:
        The loss, 0 with a gradient of 0 where no row counts; and the hard rows ``(N,)``, boolean.
    """
    gap = margin - distances(anchor, negative, distance)
    hard = valid & (gap > 0)
    mean = torch.where(hard, gap, 0).sum() / (hard if hard_only else valid).sum().clamp_min(1)
    if hard_only:
        mean = mean * (hard.sum() > (min_hard * len(hard) if min_hard < 1 else min_hard))
    return mean, hard
