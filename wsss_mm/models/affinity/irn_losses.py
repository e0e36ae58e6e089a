"""IRN's losses on pairs of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.affinity.paths import ranked_paths, search_paths, source_window

_EPS = 1e-5
Window = tuple[slice, slice]


def nearest_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Label maps at a map's size, each from the pixel in the middle of its cell, as Pillow's nearest does.

    Args:
        labels: ``(N, H, W)`` int64.
        size: ``h, w``.

    Returns:
        ``(N, h, w)`` int64.
    """
    if tuple(labels.shape[1:]) == tuple(size):
        return labels
    return F.interpolate(labels[:, None].float(), size, mode='nearest-exact')[:, 0].long()


def irn_losses(boundary: Tensor, displacement: Tensor, labels: Tensor, radius: int = 10, num_classes: int = 20,
               pairs: str = 'inner') -> dict[str, Tensor]:
    """The four means over pairs that make up IRN's loss, ``(pos + neg) / 2 + (disp_fg + disp_bg) / 2``.

    With the affinity ``a = 1 - max`` of the boundary over the path: ``pos`` is half the mean of ``-log(a + 1e-5)`` over
    pairs of background and half that over pairs of one class; ``neg`` the mean of ``-log(1 + 1e-5 - a)`` over pairs of
    different ids; ``disp_fg`` the mean over pairs of one class and both channels of ``|D_source - D_target - offset|``;
    ``disp_bg`` that of ``|D_source - D_target|`` over pairs of background. Each is a sum over the batch divided by its
    count + 1e-5, so a group without pairs gives 0.

    In float32 (or float64) whatever the maps are: 1 + 1e-5 is 1 in half precision. The gradient of a maximum goes to
    its first cell, see :func:`~wsss_mm.models.affinity.paths.ranked_paths`.

    One offset after another, and the gradients together with the sums: O(P N H W) operations, and beside the ranks of
    one quadrant (85 MB for 32 maps of 128 x 128 and radius 10) no more memory than some maps, where pairs and groups
    as tensors of their own, as published, are about 10 of 255 MB. ``benchmarks/irn_affinity.py`` measures both.

    Args:
        boundary: ``(N, H, W)`` probabilities.
        displacement: ``(N, 2, H, W)`` dy, dx in pixels of the map.
        labels: ``(N, H, W)`` int64 ids; above C ignored.
        radius: Of the search; 10.
        num_classes: C.
        pairs: ``'inner'`` as published, or ``'all'``, see :func:`~wsss_mm.models.affinity.paths.source_window`.

    Returns:
        ``pos``, ``neg``, ``disp_fg``, ``disp_bg``, scalars.

    Raises:
        ConfigError: as ``source_window``.
    """
    labels = labels.where(labels <= num_classes, 255).to(torch.uint8)
    with torch.autocast(boundary.device.type, enabled=False):
        parts = _PairLosses.apply(_float(boundary), _float(displacement), labels, radius, pairs)
    return dict(zip(('pos', 'neg', 'disp_fg', 'disp_bg'), parts, strict=True))


def _float(maps: Tensor) -> Tensor:
    return maps if maps.dtype == torch.float64 else maps.float()


def search_windows(height: int, width: int, radius: int, pairs: str
                   ) -> Iterator[tuple[tuple[int, int], Window, Window]]:
    """Offset, window of the sources and window of the targets, of equal sizes, for the pairs inside the map.

    Args:
        height, width: Of the map.
        radius: Of the search.
        pairs: As of :func:`irn_losses`.
    """
    rows, columns = source_window(height, width, radius, pairs)
    for dy, dx in search_paths(radius)[0]:
        y = rows.start, min(rows.stop, height - dy)
        x = max(columns.start, -dx), min(columns.stop, width - dx)
        if y[0] < y[1] and x[0] < x[1]:
            yield (dy, dx), (slice(*y), slice(*x)), (slice(y[0] + dy, y[1] + dy), slice(x[0] + dx, x[1] + dx))


def pair_groups(labels: Tensor, source: Window, target: Window) -> tuple[Tensor, Tensor, Tensor]:
    """Which pairs of one offset belong together: both background, both of the same class, of different ids.

    Args:
        labels: ``(N, H, W)`` uint8, 255 ignored.
        source, target: As of :func:`search_windows`.

    Returns:
        Three ``(N, h, w)`` bool.
    """
    one, other = labels[(slice(None), *source)], labels[(slice(None), *target)]
    equal = one == other
    return equal & (one == 0), equal & (one > 0) & (one < 255), ~equal & (one < 255) & (other < 255)


class _PairLosses(torch.autograd.Function):
    """Sums and their gradients in one go, since both are sums over offsets."""

    @staticmethod
    def forward(ctx: Any, boundary: Tensor, displacement: Tensor, labels: Tensor, radius: int, pairs: str
                ) -> tuple[Tensor, ...]:
        height, width = labels.shape[1:]
        windows = {offset: ends for offset, *ends in search_windows(height, width, radius, pairs)}
        counts = boundary.new_zeros(3)
        for source, target in windows.values():
            counts += torch.stack([group.sum() for group in pair_groups(labels, source, target)])
        num_bg, num_fg, num_neg = (counts + _EPS).unbind()
        disp_fg_scale, disp_bg_scale = 1 / (2 * counts[1] + _EPS), 1 / (2 * counts[0] + _EPS)
        sums = boundary.new_zeros(4)
        grad_pos, grad_neg = torch.zeros_like(boundary), torch.zeros_like(boundary)
        grad_fg, grad_bg = torch.zeros_like(displacement), torch.zeros_like(displacement)
        whole = (slice(None),)
        for quadrant in ranked_paths(boundary, radius):
            rank_pos, rank_neg = torch.zeros_like(quadrant.values), torch.zeros_like(quadrant.values)
            for offset, best in quadrant.ranks.items():
                if offset not in windows:
                    continue
                source, target = windows[offset]
                both_bg, same_fg, different = pair_groups(labels, source, target)
                ranks = best[whole + source].flatten(1).long()
                highest = quadrant.values.gather(1, ranks).view(both_bg.shape)
                together, apart = 1 - highest + _EPS, highest + _EPS
                weight = both_bg * (.5 / num_bg) + same_fg * (.5 / num_fg)
                against = different / num_neg
                sums[0] -= (weight * together.log()).sum()
                sums[1] -= (against * apart.log()).sum()
                rank_pos.scatter_add_(1, ranks, (weight / together).flatten(1))
                rank_neg.scatter_add_(1, ranks, (against / apart).flatten(1))

                twice = whole * 2
                moved = displacement[twice + source] - displacement[twice + target]
                off = moved - moved.new_tensor(offset)[:, None, None]
                for i, (part, group, scale, grad) in enumerate((
                        (off, same_fg, disp_fg_scale, grad_fg), (moved, both_bg, disp_bg_scale, grad_bg))):
                    weight = group[:, None] * scale
                    sums[2 + i] += (part.abs() * weight).sum()
                    step = part.sign() * weight
                    grad[twice + source] += step
                    grad[twice + target] -= step
            grad_pos.view(len(labels), -1).scatter_add_(1, quadrant.pixels, rank_pos)
            grad_neg.view(len(labels), -1).scatter_add_(1, quadrant.pixels, -rank_neg)
        ctx.save_for_backward(grad_pos, grad_neg, grad_fg, grad_bg)
        return tuple(sums.unbind())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        pos, neg, disp_fg, disp_bg = (grad * saved for grad, saved in zip(grads, ctx.saved_tensors, strict=True))
        return pos + neg, disp_fg + disp_bg, None, None, None
