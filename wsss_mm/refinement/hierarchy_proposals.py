"""Class-agnostic mask proposals from the image alone, where MCG's are not at hand."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from scipy.sparse import csr_matrix, vstack

from wsss_mm.errors import ConfigError, WSSSError
from wsss_mm.refinement.proposals import Proposals
from wsss_mm.refinement.region_tree import (
    RegionGraph,
    merge_regions,
    neighbour_unions,
    region_graph,
    tree_membership,
)
from wsss_mm.registry import TASK_UTILS

_PARTITIONS = ('felzenszwalb', 'slic', 'ucm')
_SAME = .95          # intersection over union above which two proposals are one
_UNION_STAGES = 24   # unions are made of the stages of a tree with at most so many regions
_SURPLUS = 3         # times max_proposals: so many are looked through for doubles


@TASK_UTILS.register_module()
class HierarchyProposals:
    """Proposals as MCG's idea has them (Arbeláez et al., CVPR 2014), without its learnt parts.

    1. A fine partition of the image.
    2. Neighbouring regions are merged pairwise to a tree, once per weight between colour and boundary
       (:func:`~wsss_mm.refinement.region_tree.merge_regions`). Every node is a proposal.
    3. So are unions of two and three neighbouring nodes of the trees' upper stages.
    4. Of the best, three times ``max_proposals``, those are dropped that have an IoU above .95 with a better one; then
       the ``max_proposals`` best are kept. The score is the mean contrast along the outline; what of it lies on the
       image's border counts as 0. Unions around a region that encloses many others can be tens of thousands, hence the
       first cut.

    No part is random. Figures: ``benchmarks/results/proposals.md``.

    Args:
        partition: Of the first step. ``'felzenszwalb'``: regions of any size along the colours' edges. ``'slic'``:
            compact superpixels of about one size, which found less of the toy's objects. ``'ucm'``: an oriented
            watershed of the boundaries, merged down by their mean strength (Arbeláez et al., PAMI 2011), the closest to
            MCG's; needs higra.
        segments: About as many regions in the partition; of Felzenszwalb's at most twice as many, in an even image few.
        colour_weights: Weight of colour against boundary, a tree each; 0 is boundary alone.
        unions: Whether the third step is done.
        max_proposals: Largest number of proposals.

    Raises:
        ConfigError: an unknown partition, or a number out of range.
        WSSSError: scikit-image, or higra for ``'ucm'``, is not installed.
    """

    def __init__(self, partition: str = 'felzenszwalb', segments: int = 600,
                 colour_weights: tuple[float, ...] = (.1, .5, .9), unions: bool = True,
                 max_proposals: int = 2000) -> None:
        if partition not in _PARTITIONS:
            raise ConfigError(f'HierarchyProposals: partition={partition!r}', expected=', '.join(_PARTITIONS))
        if not colour_weights or not all(0 <= w <= 1 for w in colour_weights) or min(segments, max_proposals) < 1:
            raise ConfigError(
                f'HierarchyProposals: segments={segments}, colour_weights={tuple(colour_weights)}, '
                f'max_proposals={max_proposals}', expected='at least one of each, and weights from 0 to 1')
        _skimage()
        if partition == 'ucm':
            _higra()
        self.partition, self.segments, self.colour_weights = partition, segments, tuple(colour_weights)
        self.unions, self.max_proposals = unions, max_proposals

    def __call__(self, image_id: str, image: np.ndarray) -> Proposals:
        """Proposals of one image, the best score first.

        Args:
            image_id: Not used; as :class:`MaskProposals` is called.
            image: ``(H, W, 3)`` uint8 RGB.
        """
        lab = _skimage().color.rgb2lab(image)
        boundary = _boundary(lab)
        labels = self._partition(lab, boundary)
        graph = region_graph(labels, lab, boundary)
        sets = []
        for weight in self.colour_weights:
            merges = merge_regions(graph, weight)
            nodes = tree_membership(len(graph.areas), merges)
            sets.append(nodes)
            if self.unions:
                one, other, third = neighbour_unions(graph, merges, _UNION_STAGES).T
                sets.append(nodes[one] + nodes[other])
                triples = third >= 0
                sets[-1] = vstack([sets[-1][~triples], sets[-1][triples] + nodes[third[triples]]])
        members = _different(csr_matrix(vstack(sets)))
        scores = outline_contrast(members, graph, labels)
        best = np.argsort(-scores, kind='stable')[:_SURPLUS * self.max_proposals]
        members, scores = members[best], scores[best]
        kept = np.flatnonzero(suppress_doubles(members, graph.areas))[:self.max_proposals]
        members = members[kept]
        members.sort_indices()
        return Proposals(labels, members.indptr, members.indices, scores[kept], len(graph.areas))

    def fingerprint(self) -> dict[str, str]:
        """Nothing beside the settings decides the proposals."""
        return {}

    def _partition(self, lab: np.ndarray, boundary: np.ndarray) -> np.ndarray:
        """``(H, W)``, numbers from 0 without gaps, in the order of the regions' first pixels."""
        height, width = lab.shape[:2]
        if self.partition == 'slic':
            labels = _skimage().segmentation.slic(lab, self.segments, compactness=10, convert2lab=False, start_label=0)
        elif self.partition == 'felzenszwalb':
            # min_size is what bounds the number of regions: with a low scale most of them are of about that size
            labels = _skimage().segmentation.felzenszwalb(
                lab, scale=10, sigma=.8, min_size=max(height * width // (2 * self.segments), 1))
        else:
            labels = _ucm(boundary, self.segments)
        return np.unique(labels, return_inverse=True)[1].reshape(height, width)


def _boundary(lab: np.ndarray) -> np.ndarray:
    """Strength of the boundary at each pixel: length of the gradient, of the channel where it is longest."""
    from scipy.ndimage import gaussian_gradient_magnitude
    return np.max([gaussian_gradient_magnitude(channel, 1, mode='nearest') for channel in np.moveaxis(lab, -1, 0)], 0)


def _ucm(boundary: np.ndarray, segments: int) -> np.ndarray:
    """Regions of an oriented watershed, of which the most alike neighbours are merged until ``segments`` are left."""
    higra = _higra()
    graph = higra.get_4_adjacency_graph(boundary.shape)
    weights = higra.weight_graph(graph, boundary, higra.WeightFunction.mean)
    tree, altitudes = higra.mean_pb_hierarchy(graph, weights)
    return higra.labelisation_horizontal_cut_from_num_regions(tree, altitudes, min(segments, boundary.size))


def _different(members: csr_matrix) -> csr_matrix:
    """Each set of regions once, the first of equal ones; known by a sum of random 64-bit numbers of its regions."""
    members.sum_duplicates()
    members.data[:] = 1
    keys = np.random.default_rng(0).integers(0, 1 << 64, members.shape[1], np.uint64, endpoint=False)
    sums = np.concatenate([[np.uint64(0)], np.cumsum(keys[members.indices], dtype=np.uint64)])
    _, first = np.unique(sums[members.indptr[1:]] - sums[members.indptr[:-1]], return_index=True)
    return members[np.sort(first)]


def outline_contrast(members: csr_matrix, graph: RegionGraph, labels: np.ndarray) -> np.ndarray:
    """Mean contrast along the outline of each proposal, the image's border counting as none at all.

    One sparse product with the E pairs of neighbours: the outline of a set are the pairs of which it has one.

    Args:
        members: ``(K, S)``, 1 where a region is in the set.
        graph: The regions.
        labels: ``(H, W)``, the regions' pixels.

    Returns:
        ``(K,)`` float32.
    """
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    on_rim = members @ np.bincount(rim, minlength=len(graph.areas))
    ends = np.repeat(np.arange(len(graph.pairs)), 2)
    sides = csr_matrix((np.ones(len(ends)), (graph.pairs.ravel(), ends)), (len(graph.areas), len(graph.pairs)))
    touched = members @ sides   # 1 or 2 of each pair
    touched.data = (touched.data == 1).astype(np.float64)
    length = touched @ graph.lengths
    total = touched @ (graph.lengths * graph.contrasts)
    return (total / np.maximum(length + on_rim, 1)).astype(np.float32)


def suppress_doubles(members: csr_matrix, areas: np.ndarray, limit: float = _SAME, block: int = 256) -> np.ndarray:
    """Which proposals stay, when each that is kept removes all later ones with an IoU above ``limit``.

    Only proposals whose areas differ by less than the limit can be that alike. Sorted by area these are neighbours, so
    a block of rows is compared with a band of others by one product, instead of all with all. The products are dense:
    upper nodes have most regions, and a sparse product of such rows was ten times slower.

    Args:
        members: ``(K, S)``, 1 where a region is in the set, the most important set first.
        areas: ``(S,)`` pixels of the regions.
        limit: From 0 to 1.
        block: Rows at once.

    Returns:
        ``(K,)`` bool.
    """
    sizes = members @ areas
    order = np.argsort(sizes, kind='stable')
    sizes = sizes[order]
    # whole numbers, exact below 2^24
    ranked = members[order].toarray().astype(np.float32 if areas.sum() < 1 << 24 else np.float64)
    ends = np.searchsorted(sizes, sizes / limit, 'right')
    pairs = []
    for start in range(0, len(sizes), block):
        stop = min(start + block, len(sizes))
        band = slice(start, ends[stop - 1])
        shared = (ranked[start:stop] * areas.astype(ranked.dtype)) @ ranked[band].T
        one, other = (shared * (1 + limit) > limit * (sizes[start:stop, None] + sizes[band])).nonzero()
        pairs.append(order[np.stack([one, other])[:, one < other] + start])
    first, second = np.sort(np.concatenate(pairs, 1), 0)
    by_first = np.lexsort((second, first))
    first, second = first[by_first], second[by_first]
    starts = np.searchsorted(first, np.arange(len(sizes) + 1))
    kept = np.ones(len(sizes), bool)
    for i in np.unique(first):   # one by one: whether a proposal removes others depends on those before it
        if kept[i]:
            kept[second[starts[i]:starts[i + 1]]] = False
    return kept


def _skimage() -> ModuleType:
    try:
        import skimage
        import skimage.color
        import skimage.segmentation
    except ImportError:
        raise WSSSError('scikit-image is not installed, which HierarchyProposals needs',
                        fix='pip install "wsss_mm[proposals]"') from None
    return skimage


def _higra() -> ModuleType:
    try:
        import higra
    except ImportError:
        raise WSSSError("higra is not installed, which HierarchyProposals(partition='ucm') needs",
                        fix='pip install "wsss_mm[hierarchy]"; or another partition') from None
    return higra
