"""Regions of an image, their neighbours, and the trees that merging them pairwise makes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class RegionGraph:
    """S regions and the E pairs of them that touch.

    Attributes:
        areas: ``(S,)`` int64, pixels.
        colours: ``(S, C)`` float64, mean colour of each.
        pairs: ``(E, 2)`` int64, the first of a pair the smaller number, in ascending order.
        lengths: ``(E,)`` int64, pairs of neighbouring pixels on the common border.
        contrasts: ``(E,)`` float64, mean strength of the image's boundary along it.
    """

    areas: np.ndarray
    colours: np.ndarray
    pairs: np.ndarray
    lengths: np.ndarray
    contrasts: np.ndarray


def region_graph(labels: np.ndarray, colours: np.ndarray, boundary: np.ndarray) -> RegionGraph:
    """The graph of a partition; every step is one histogram over pixels.

    Args:
        labels: ``(H, W)`` whole numbers 0…S-1, each there.
        colours: ``(H, W, C)`` float.
        boundary: ``(H, W)`` float, strength of a boundary at each pixel. That between two pixels is their mean.
    """
    flat = labels.ravel().astype(np.int64)
    areas = np.bincount(flat)
    means = np.stack([np.bincount(flat, c.ravel()) for c in np.moveaxis(colours, -1, 0)], 1) / areas[:, None]
    keys, strengths = [], []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = labels[one].astype(np.int64), labels[other].astype(np.int64)
        differ = a != b
        a, b = a[differ], b[differ]
        keys.append(np.minimum(a, b) * len(areas) + np.maximum(a, b))
        strengths.append((boundary[one][differ] + boundary[other][differ]) / 2)
    pairs, index = np.unique(np.concatenate(keys), return_inverse=True)
    lengths = np.bincount(index.ravel(), minlength=len(pairs))
    contrasts = np.bincount(index.ravel(), np.concatenate(strengths), len(pairs)) / np.maximum(lengths, 1)
    return RegionGraph(areas, means, np.stack([pairs // len(areas), pairs % len(areas)], 1), lengths, contrasts)


def merge_regions(graph: RegionGraph, colour_weight: float) -> np.ndarray:
    """Merge the most alike neighbours again and again until nothing is left to merge.

    The distance of two neighbours is ``w · |mean colours' difference| + (1 - w) · mean contrast of their border``,
    times the square root of the smaller one's area: small regions go first, where the others are as like. Of equal
    distances the pair of the lowest numbers is merged.

    A heap over the pairs: O((S + E) log E) for borders of bounded number; a search among all pairs for each merge would
    take O(S·E).

    Args:
        graph: The regions.
        colour_weight: w, from 0 to 1.

    Returns:
        ``(M, 2)`` int64, the two nodes of each merge, in order; merge m makes node S + m. M is S - 1 where all regions
        hang together.
    """
    # Plain lists: single elements of numpy arrays would cost more than the sums.
    area = graph.areas.tolist()
    colour = graph.colours.tolist()
    borders: list[dict[int, tuple[float, int]]] = [{} for _ in area]
    for (a, b), length, contrast in zip(graph.pairs.tolist(), graph.lengths.tolist(), graph.contrasts.tolist(),
                                        strict=True):
        borders[a][b] = borders[b][a] = (contrast * length, length)

    def entry(a: int, b: int) -> tuple[float, int, int]:
        total, length = borders[a][b]
        apart = sum((x - y) ** 2 for x, y in zip(colour[a], colour[b], strict=True)) ** .5
        return ((colour_weight * apart + (1 - colour_weight) * total / length) * min(area[a], area[b]) ** .5,
                min(a, b), max(a, b))

    heap = [entry(a, b) for a, b in graph.pairs.tolist()]
    heapq.heapify(heap)
    merges = []
    while heap:
        _, a, b = heapq.heappop(heap)
        if b not in borders[a]:   # one of them was merged with another meanwhile
            continue
        made = len(area)
        merges.append((a, b))
        area.append(area[a] + area[b])
        colour.append([(x * area[a] + y * area[b]) / area[made] for x, y in zip(colour[a], colour[b], strict=True)])
        own: dict[int, tuple[float, int]] = {}
        for part, other in ((a, b), (b, a)):
            for n, (total, length) in borders[part].items():
                if n != other:
                    before = own.get(n, (0., 0))
                    own[n] = (before[0] + total, before[1] + length)
                    del borders[n][part]
            borders[part] = {}
        borders.append(own)
        for n, border in own.items():
            borders[n][made] = border
            heapq.heappush(heap, entry(made, n))
    return np.array(merges, np.int64).reshape(-1, 2)


def tree_membership(num_regions: int, merges: np.ndarray) -> csr_matrix:
    """``(S + M, S)`` int64: the regions of each node of a tree, the regions themselves first."""
    members = [[i] for i in range(num_regions)]
    for a, b in merges.tolist():
        members.append(members[a] + members[b])
    indptr = np.cumsum([0, *map(len, members)])
    indices = np.fromiter((i for own in members for i in own), np.int64, indptr[-1])
    return csr_matrix((np.ones(len(indices), np.int64), indices, indptr), (len(members), num_regions))


def neighbour_unions(graph: RegionGraph, merges: np.ndarray, last: int) -> np.ndarray:
    """Pairs and triples of nodes that touch, from the stages of a tree with at most ``last`` regions.

    Every stage is a partition of the image; a pair are two neighbours of one stage, a triple two neighbours of a third.
    Each merge brings only those sets that the new node is in: about d pairs and d² / 2 triples around it, for d
    neighbours.

    Args:
        graph: The regions.
        merges: From :func:`merge_regions`.
        last: Largest number of regions of a stage.

    Returns:
        ``(U, 3)`` int64 nodes; -1 in the place of the third of a pair.
    """
    neighbours: list[set[int]] = [set() for _ in graph.areas]
    for a, b in graph.pairs.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    found: dict[tuple[int, int, int], None] = {}   # a set in the order of its making

    def collect(node: int) -> None:
        for union in _unions_around(node, neighbours):
            found[union] = None

    left = len(neighbours)
    alive = set(range(left))
    if left <= last:
        for node in sorted(alive):
            collect(node)
    for a, b in merges.tolist():
        made = len(neighbours)
        neighbours.append((neighbours[a] | neighbours[b]) - {a, b})
        for n in neighbours[made]:
            neighbours[n] -= {a, b}
            neighbours[n].add(made)
        alive -= {a, b}
        alive.add(made)
        left -= 1
        if left == last:
            for node in sorted(alive):
                collect(node)
        elif left < last:
            collect(made)
    return np.array(list(found), np.int64).reshape(-1, 3)


def _unions_around(node: int, neighbours: list[set[int]]) -> Iterator[tuple[int, int, int]]:
    around = sorted(neighbours[node])
    for i, first in enumerate(around):
        yield (min(node, first), max(node, first), -1)
        for second in around[i + 1:]:
            a, b, c = sorted((node, first, second))
            yield (a, b, c)
