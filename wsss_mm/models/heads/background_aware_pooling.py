"""The maths of background-aware pooling (Oh et al., CVPR 2021, Sec. 3.2), on tensors.

Symbols: N images, K boxes of the whole batch in one list, P sample points of all boxes in one list, J = grid_size²
cells, O = OH·OW windows per box, D channels, feature map h x w. Nothing here loops over boxes; the host waits for the
device once, for P.

The sampled features (P, D) are needed for their norms alone. Their products with the queries are sampled from the
maps of products, since bilinear sampling is linear, and a window's weighted sum of samples is a weighted sum of map
positions, one batched matrix product with the map: O(P·J + K·O·h·w·D / images) instead of O(P·D·(J + O)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Foreground weights are 1 - A with A in [0, 1] up to rounding. The floor turns a window that is background
# throughout into plain average pooling, where 0/0 or its gradient would follow.
WEIGHT_FLOOR = 1e-6


def resize_mask(mask: Tensor, size: Sequence[int], align_mode: str = 'official') -> Tensor:
    """Nearest resize of a mask to the feature map.

    Args:
        mask: ``(N, H, W)``.
        size: ``(h, w)``.
        align_mode: ``'official'`` takes pixel floor(i·H/h); ``'aligned'`` the pixel nearest to the centre of feature
            i, which is i·(H-1)/(h-1).

    Returns:
        ``(N, h, w)``, the mask's type.
    """
    def pixels(n: int, full: int) -> Tensor:
        i = torch.arange(n, device=mask.device)
        if align_mode == 'official':
            return i * full // n
        return ((2 * i * (full - 1) + max(n - 1, 1)) // (2 * max(n - 1, 1))).clamp_max(full - 1)

    rows, columns = (pixels(n, full) for n, full in zip(size, mask.shape[1:], strict=True))
    return mask[:, rows[:, None], columns]


def cell_index(height: int, width: int, grid_size: int, device: torch.device | None = None) -> Tensor:
    """Grid cell of each map position, row-major ``(h·w,)`` int64.

    A side that the grid does not divide is thought padded to the next multiple: evenly where the deficit is even, else
    at the right or bottom alone.
    """
    def cells(n: int) -> Tensor:
        deficit = -n % grid_size
        before = deficit // 2 if deficit % 2 == 0 else 0
        return (torch.arange(n, device=device) + before) // ((n + deficit) // grid_size)

    return (cells(height)[:, None] * grid_size + cells(width)).flatten()


def background_queries(features: Tensor, background: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
    """Mean feature of the definite background in each grid cell (Eq. 1).

    Args:
        features: ``(N, D, h, w)``.
        background: ``(N, h, w)`` bool, definite background.
        grid_size: The grid has this many cells in each direction.

    Returns:
        Queries ``(N, J, D)``, zero in cells without background, and ``(N, J)`` bool: the cell has some.
    """
    height, width = features.shape[2:]
    cells = cell_index(height, width, grid_size, features.device)
    member = (cells == torch.arange(grid_size ** 2, device=features.device)[:, None]) & background.flatten(1)[:, None]
    count = member.sum(2)
    total = torch.bmm(member.to(features.dtype), features.flatten(2).transpose(1, 2))
    return total / count.clamp_min(1).to(features.dtype)[..., None], count > 0


class SamplePoints(NamedTuple):
    """The sample points of all boxes, one box after another, row-major in each.

    Attributes:
        box: ``(P,)`` int64, index of the box.
        row, column: ``(P,)`` int64, place in the box's own grid.
        rows, columns: ``(K,)`` int64, size of each box's grid.
        image: ``(P,)`` int64.
        position: ``(P, 4)`` int64, the four neighbours on the map, ``y·w + x``.
        share: ``(P, 4)``, their bilinear weights; 0 outside the map.
    """

    box: Tensor
    row: Tensor
    column: Tensor
    rows: Tensor
    columns: Tensor
    image: Tensor
    position: Tensor
    share: Tensor


def sample_points(boxes: Tensor, image_index: Tensor, image_size: Sequence[int], feature_size: Sequence[int],
                  align_mode: str = 'official', dtype: torch.dtype = torch.float32) -> SamplePoints:
    """Where each box samples the map.

    A box has ``ceil(x2') - floor(x1')`` columns (x' in feature units, at least one), equally spaced from edge to edge.

    Args:
        boxes: ``(K, 4)`` ``x1, y1, x2, y2`` in pixels of the network input; cut to ``[0, W + 1]``, the most that the
            official crop yields.
        image_index: ``(K,)`` int64.
        image_size: ``(H, W)`` of the network input.
        feature_size: ``(h, w)``.
        align_mode: ``'official'`` normalises with ``x / ((W - 1) / 2) - 1`` and samples in the convention of
            ``align_corners=False`` with zeros outside, so that a box is stretched by w/(w-1) about the image's
            centre. ``'aligned'`` keeps ``align_corners=True`` throughout, reads boxes as half-open and repeats the
            border.
        dtype: Of the weights; the numbers of samples always come from float32, which they depend on.
    """
    device = boxes.device

    def axis(start: Tensor, end: Tensor, full: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """One axis of each box: where on the map its samples start and end (feature i is at i), and their number."""
        start, end = start.clamp(0, full + 1), end.clamp(0, full + 1)
        if align_mode == 'aligned':
            end = torch.maximum(end - 1, start)  # the last pixel inside
            start, end = (v * (n - 1) / max(full - 1, 1) for v in (start, end))
            return start, end, (end.ceil() - start.floor()).long().clamp_min(1)
        half = max((full - 1) / 2, .5)
        start, end = start / half - 1, end / half - 1  # numbers of samples hang on this rounding
        number = ((end + 1) * (n - 1) / 2).ceil() - ((start + 1) * (n - 1) / 2).floor()
        return ((start + 1) * n - 1) / 2, ((end + 1) * n - 1) / 2, number.long().clamp_min(1)

    x1, y1, x2, y2 = boxes.float().unbind(1)
    (height, width), (h, w) = image_size, feature_size
    x1, x2, columns = axis(x1, x2, width, w)
    y1, y2, rows = axis(y1, y2, height, h)

    number = rows * columns
    total = int(number.sum())  # the one wait for the device
    box = torch.repeat_interleave(torch.arange(len(boxes), device=device), number, output_size=total)
    local = torch.arange(total, device=device) - (number.cumsum(0) - number)[box]
    row, column = local // columns[box], local % columns[box]

    def place(index: Tensor, start: Tensor, end: Tensor, steps: Tensor, n: int) -> Tensor:
        """Coordinates of the samples on the map."""
        start, end, steps = start.to(dtype)[box], end.to(dtype)[box], steps[box] - 1
        fraction = index.to(dtype) / steps.clamp_min(1)
        if align_mode == 'aligned':
            fraction = torch.where(steps == 0, .5, fraction)  # a single sample stands in the middle
            return (start + (end - start) * fraction).clamp(0, n - 1)
        return start + (end - start) * fraction

    x, y = place(column, x1, x2, columns, w)[:, None], place(row, y1, y2, rows, h)[:, None]
    corner = torch.arange(4, device=device)
    right, down = corner % 2, corner // 2
    left_x, top_y = x.floor(), y.floor()
    share = torch.where(right == 1, x - left_x, 1 - (x - left_x)) * torch.where(down == 1, y - top_y, 1 - (y - top_y))
    at_x, at_y = left_x.long() + right, top_y.long() + down
    inside = (at_x >= 0) & (at_x < w) & (at_y >= 0) & (at_y < h)
    position = at_y.clamp(0, h - 1) * w + at_x.clamp(0, w - 1)
    return SamplePoints(box, row, column, rows, columns, image_index[box], position, share * inside)


def sample_maps(maps: Tensor, points: SamplePoints) -> Tensor:
    """Bilinear samples ``(P, M)`` of maps ``(N, M, h, w)`` or ``(N, M, h·w)``."""
    maps = maps.flatten(2)
    table = maps.transpose(1, 2).reshape(-1, maps.shape[1])
    return F.embedding_bag(points.image[:, None] * maps.shape[2] + points.position, table, mode='sum',
                           per_sample_weights=points.share.to(table.dtype))


def background_attention(features: Tensor, queries: Tensor, valid: Tensor, points: SamplePoints) -> Tensor:
    """A(p): mean over the valid cells of ReLU(cos(f(p), q_j)) at the sample points (Eq. 2, 3).

    Args:
        features: ``(N, D, h, w)``.
        queries: ``(N, J, D)``.
        valid: ``(N, J)`` bool.
        points: Sample points of all boxes.

    Returns:
        ``(P,)`` in [0, 1], 0 in images without a valid cell.
    """
    product = torch.bmm(F.normalize(queries, dim=2), features.flatten(2))
    norm = sample_maps(features, points).norm(dim=1, keepdim=True)
    cosine = F.relu(sample_maps(product, points) / norm.clamp_min(1e-12))
    chosen = valid.to(cosine.dtype)
    chosen = chosen / chosen.sum(1, keepdim=True).clamp_min(1)
    return (cosine * chosen[points.image]).sum(1)


def window_members(index: Tensor, length: Tensor, windows: int, replicate_first: bool) -> Tensor:
    """Which windows each sample lies in, along one axis.

    Windows have stride ``s = max(1, n // windows)`` and length ``n - (windows - 1)·s``, so they overlap by one
    sample where n is odd. With fewer samples than windows, the first or the last sample is repeated.

    Args:
        index: ``(P,)`` int64, sample number in its box.
        length: ``(P,)`` int64, the box's number n of samples.
        windows: Number of windows.
        replicate_first: Repeat the first sample, else the last.

    Returns:
        ``(P, windows)`` bool.
    """
    o = torch.arange(windows, device=index.device)
    index, length = index[:, None], length[:, None]
    stride = (length // windows).clamp_min(1)
    within = (index >= o * stride) & (index < o * stride + length - (windows - 1) * stride)
    only = (o - (windows - length)).clamp_min(0) if replicate_first else torch.minimum(o, length - 1)
    return torch.where(length < windows, index == only, within)


def pool_windows(features: Tensor, weights: Tensor, points: SamplePoints, boxes_per_image: list[int],
                 roi_size: Sequence[int]) -> Tensor:
    """Weighted means of the samples in each box's windows (Eq. 4, on OH x OW windows).

    Args:
        features: ``(N, D, h, w)``.
        weights: ``(P,)``, positive.
        points: Sample points of all boxes.
        boxes_per_image: N numbers; boxes are in the order of the images.
        roi_size: ``(OH, OW)``.

    Returns:
        ``(K, O, D)``, windows row-major.
    """
    (images, channels), positions, boxes = features.shape[:2], features[0, 0].numel(), len(points.rows)
    windows, most = roi_size[0] * roi_size[1], max(boxes_per_image)
    in_row = window_members(points.row, points.rows[points.box], roi_size[0], replicate_first=False)
    in_column = window_members(points.column, points.columns[points.box], roi_size[1], replicate_first=True)
    share = (in_row[:, :, None] & in_column[:, None]).flatten(1) * weights[:, None]  # (P, O)

    # Each image has room for as many boxes as the fullest one; the places are known without the device.
    image = box_images(boxes_per_image)
    number = torch.tensor(boxes_per_image)
    slot = image * most + torch.arange(boxes) - (number.cumsum(0) - number)[image]
    slot = slot.to(features.device, non_blocking=True)
    # The weight of every map position in every window, then all windows at once.
    window = slot[points.box, None] * windows + torch.arange(windows, device=features.device)
    target = window[:, :, None] * positions + points.position[:, None]
    on_map = features.new_zeros(images * most * windows * positions).index_add(
        0, target.flatten(), (share[:, :, None] * points.share[:, None]).flatten())
    total = torch.bmm(on_map.view(images, most * windows, positions), features.flatten(2).transpose(1, 2))
    weight = features.new_zeros(boxes, windows).index_add(0, points.box, share)
    return total.view(-1, windows, channels)[slot] / weight.clamp_min(1e-12)[..., None]


def box_images(boxes_per_image: list[int]) -> Tensor:
    """Image index ``(K,)`` of each box, on the CPU."""
    return torch.arange(len(boxes_per_image)).repeat_interleave(torch.tensor(boxes_per_image))
