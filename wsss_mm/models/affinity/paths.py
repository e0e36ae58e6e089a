"""Affinities as the weakest point of the way between two pixels, as in IRN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity.pairs import neighbour_offsets

# A target's plan: earlier paths, by (dy, dx), and where in the target they start.
Plan = tuple[tuple[tuple[int, int], tuple[int, int]], ...]


def path_cells(dy: int, dx: int) -> list[tuple[int, int]]:
    """The path from a pixel to its neighbour: cells of the bounding box nearer than 1 to the segment, ends included.

    Args:
        dy, dx: The neighbour's offset, ``dy >= 0``.

    Returns:
        ``(y, x)`` relative to the pixel, the neighbour first: by falling ``|y| + |x|``, then row by row.
    """
    columns = range(min(dx, 0), max(dx, 0) + 1)
    near = [(y, x) for y in range(dy + 1) for x in columns if (dy * x - dx * y) ** 2 < dy ** 2 + dx ** 2]
    return sorted(near or [(0, 0)], key=lambda cell: -abs(cell[0]) - abs(cell[1]))


@lru_cache
def search_paths(radius: int) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[tuple[int, int], ...], ...]]:
    """All neighbours within a radius and the paths to them, by the number of cells of the path, ascending.

    Args:
        radius: As of :func:`~wsss_mm.models.affinity.neighbour_offsets`.

    Returns:
        P offsets ``(dy, dx)``, and for each its :func:`path_cells`. Radius 10: 152 paths of 2,134 cells, 5: 34 of 242.
    """
    offsets = [(int(dy), int(dx)) for dy, dx in neighbour_offsets(radius).tolist()]
    paths = sorted(((offset, tuple(path_cells(*offset))) for offset in offsets), key=lambda pair: len(pair[1]))
    return tuple(offset for offset, _ in paths), tuple(path for _, path in paths)


def path_offsets(radius: int) -> Tensor:
    """The offsets of :func:`search_paths`, ``(P, 2)`` int64 ``dy, dx``: the order of :func:`path_affinities`."""
    return torch.tensor(search_paths(radius)[0])


@lru_cache
def _plans(radius: int) -> tuple[tuple[tuple[int, int], Plan], ...]:
    """How to put every path of the quadrant ``dy, dx >= 0`` together from earlier ones; of radius 10, in 104 maxima.

    Greedy: of the earlier paths that lie within, shifted, the one that covers most of what is left. Sets of cells are
    bits of integers, so that a shift is a shift.
    """
    stride = 2 * radius
    targets = sorted(((dy, dx) for dy in range(radius) for dx in range(radius)
                      if 0 < dy ** 2 + dx ** 2 < radius ** 2), key=lambda offset: len(path_cells(*offset)))
    bits: dict[tuple[int, int], int] = {(0, 0): 1}
    plans = []
    for dy, dx in targets:
        whole = sum(1 << (y * stride + x) for y, x in path_cells(dy, dx))
        inside = [(earlier, (y, x), shifted) for earlier, path in bits.items()
                  for y in range(dy - earlier[0] + 1) for x in range(dx - earlier[1] + 1)
                  if not (shifted := path << (y * stride + x)) & ~whole]
        left, plan = whole, []
        while left:
            earlier, start, covered = max(inside, key=lambda candidate: bin(candidate[2] & left).count('1'))
            plan.append((earlier, start))
            left &= ~covered
        bits[dy, dx] = whole
        plans.append(((dy, dx), tuple(plan)))
    return tuple(plans)


def _path_maxima(values: Tensor, width: int, radius: int, mirrored: bool) -> dict[tuple[int, int], Tensor]:
    """The maximum over each path of a quadrant, for every pixel that it starts from.

    Shifts are of the flattened map, so what starts where the path leaves the map is of no meaning.

    Args:
        values: ``(N, H W)``, of any type that has a maximum.
        width: W.
        radius: Of the search.
        mirrored: The quadrant ``dx <= 0`` in the place of ``dx >= 0``.

    Returns:
        ``(N, H W)`` by ``(dy, |dx|)``.
    """
    size, sign = values.shape[1], -1 if mirrored else 1
    found = {(0, 0): values}
    for offset, plan in _plans(radius):
        (first, start), *others = plan
        best = torch.roll(found[first], -(start[0] * width + sign * start[1]), 1) if start != (0, 0) else \
            found[first].clone()
        for earlier, (y, x) in others:
            shift = y * width + sign * x
            low, high = max(0, -shift), size - max(0, shift)
            if low < high:
                torch.maximum(best[:, low:high], found[earlier][:, low + shift:high + shift], out=best[:, low:high])
        found[offset] = best
    return found


def _ranks(values: Tensor, height: int, width: int, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Places of all pixels of a map by value; of equal ones the first on any path that holds both comes last.

    The order on a path, by falling ``|y| + |x|`` and then row by row, is one order of the pixels of the map for all
    paths into the same quadrant. So the highest rank on a path is its first maximum, and ranks have no ties.

    Args:
        values: ``(N, H W)``.
        height, width: H and W.
        mirrored: As of :func:`_path_maxima`.

    Returns:
        ``ranks (N, H W)`` int16, or int32 where that is too small; ``pixels (N, H W)`` int64, the pixel of each rank.
    """
    device = values.device
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing='ij')
    along = y - x if mirrored else y + x
    first = ((along - along.min()) * height + (height - 1 - y)).flatten().argsort()
    pixels = first[values[:, first].argsort(dim=1, stable=True)]
    kind = torch.int16 if height * width <= 2 ** 15 else torch.int32
    places = torch.arange(height * width, dtype=kind, device=device).expand(pixels.shape)
    return torch.empty_like(pixels, dtype=kind).scatter_(1, pixels, places), pixels


def source_window(height: int, width: int, radius: int, pairs: str) -> tuple[slice, slice]:
    """Rows and columns that pairs start from.

    Args:
        height, width: Of the map.
        radius: Of the search.
        pairs: ``'all'``, every pixel, also of pairs that end outside the map; or ``'inner'``, only pixels all of whose
            neighbours are inside: rows 0 to H - r, columns r - 1 to W - r, the published training's.

    Raises:
        ConfigError: another ``pairs``, or a map without such pixels.
    """
    if pairs not in ('all', 'inner'):
        raise ConfigError(f'pairs={pairs!r}', expected="'all' or 'inner'")
    if pairs == 'all':
        return slice(0, height), slice(0, width)
    if height < radius or width < 2 * radius - 1:
        raise ConfigError(f'a map of {height} x {width} has no pixel with all neighbours within radius {radius}',
                          expected=f'{radius} x {2 * radius - 1} or more', fix="a smaller radius, or pairs='all'")
    return slice(0, height - radius + 1), slice(radius - 1, width - radius + 1)


def path_affinities(boundary: Tensor, radius: int) -> Tensor:
    """Affinity ``1 - max`` of the boundary over the path, of every pair within a radius; without gradient.

    The published form gathers every cell of every path, 242 per pixel at radius 5. Here paths are put together from
    shorter ones, shifted, in 44 maxima of whole maps; the floor is one for each of the 34 pairs.

    Args:
        boundary: ``(N, H, W)`` boundary probabilities.
        radius: Of the search, in pixels of the map.

    Returns:
        ``(N, P, H, W)`` in the order of :func:`path_offsets`. Entries whose pair ends outside the map mean nothing.
    """
    quadrants = [_path_maxima(boundary.detach().flatten(1), boundary.shape[2], radius, mirrored)
                 for mirrored in (False, True)]
    return 1 - torch.stack([quadrants[dx < 0][dy, abs(dx)] for dy, dx in search_paths(radius)[0]],
                           1).unflatten(2, boundary.shape[1:])


@dataclass
class RankedPaths:
    """Where the highest value of every path into one quadrant is.

    Attributes:
        pixels: ``(N, H W)`` int64, the pixel of each rank.
        values: ``(N, H W)``, the value of each rank.
        ranks: For the offsets ``(dy, dx)`` of the quadrant ``(N, H, W)`` int16 or int32, the highest rank of each path.
    """

    pixels: Tensor
    values: Tensor
    ranks: dict[tuple[int, int], Tensor]


def ranked_paths(values: Tensor, radius: int) -> Iterator[RankedPaths]:
    """The quadrants ``dx >= 0`` and ``dx < 0``, one after the other.

    Of equal values on a path the first counts, in the order of :func:`path_cells`; there a gradient has to go, as in
    max pooling, while pairwise maxima would divide it. For 32 maps of 128 x 128 and radius 10 a quadrant's ranks are
    85 MB; the published form holds 223 MB of int64 indices and gathers 3.6 GB.

    Args:
        values: ``(N, H, W)``.
        radius: Of the search.
    """
    height, width = size = tuple(values.shape[1:])
    flat = values.detach().flatten(1)
    for mirrored in (False, True):
        ranks, pixels = _ranks(flat, height, width, mirrored)
        found = _path_maxima(ranks, width, radius, mirrored)
        yield RankedPaths(pixels, flat.gather(1, pixels), {
            (dy, dx): found[dy, abs(dx)].unflatten(1, size) for dy, dx in search_paths(radius)[0]
            if (dx < 0) == mirrored})
