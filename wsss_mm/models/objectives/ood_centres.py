"""Centres of features and distances to them: the maths of W-OoD's metric learning (section 4.3.2), on tensors.

Symbols: N images, C classes, K clusters, D features. A row of centres that is 0 throughout is an empty cluster, or a
class without an image: its distance counts as 0, and distances of 0 are never selected.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError

SELECTIONS = ('batch', 'image')


def distances(features: Tensor, centres: Tensor) -> Tensor:
    """Euclidean distances (Eq. 4.1), as differences of features, not as a product, which cancels between near ones.

    The gradient at a distance of 0 is 0, where that of a plain square root is infinite and times 0 not a number.
    O(N·K·D), without the (N, K, D) differences in memory.

    Args:
        features: ``(N, D)``, float32 or float64.
        centres: ``(K, D)``.

    Returns:
        ``(N, K)``; 0 to empty clusters.
    """
    found = torch.cdist(features, centres.to(features), compute_mode='donot_use_mm_for_euclid_dist')
    return found.masked_fill(~centres.any(1), 0)


def kmeans(features: Tensor, clusters: int, iterations: int = 10) -> Tensor:
    """Lloyd's algorithm from the first rows, as published: the order of the rows decides.

    A cluster that loses all its rows stays empty; so do those that there are no rows for. The published code divides
    0 by 0 there and ends with the same zeros.

    One matrix of distances and one scatter per iteration, O(N·K·D): for 5,190 x 2,048 features and 50 clusters half
    a GFLOP.

    Args:
        features: ``(N, D)``.
        clusters: K.
        iterations: Assignments, each followed by new means.

    Returns:
        ``(K, D)``, zeros for empty clusters.

    Raises:
        ConfigError: no clusters or no iterations.
        DataError: no features.
    """
    if clusters < 1 or iterations < 1:
        raise ConfigError(f'kmeans: clusters={clusters}, iterations={iterations}', expected='1 or more')
    if not len(features):
        raise DataError('no features to cluster', expected='one or more images')
    start = features[:clusters]
    centres = features.new_zeros(clusters, features.shape[1])
    centres[:len(start)] = start
    alive = torch.arange(clusters, device=features.device) < len(start)
    for _ in range(iterations):
        apart = torch.cdist(features, centres, compute_mode='donot_use_mm_for_euclid_dist')
        label = apart.masked_fill(~alive, torch.inf).argmin(1)
        count = torch.bincount(label, minlength=clusters)
        centres = torch.zeros_like(centres).index_add_(0, label, features)
        centres /= count.clamp_min(1).to(centres)[:, None]
        alive = count > 0
    return centres


def closest(apart: Tensor, ratio: float, selection: str = 'batch') -> Tensor:
    """The closest pairs of image and cluster.

    With n distances above 0 and k = int(n·(1 - ratio)), those strictly below the k-th largest; all if k is 0. So equal
    distances are kept together or not at all, and none where all are equal.

    Args:
        apart: ``(N, K)`` distances.
        ratio: Share that is kept, τ / 100.
        selection: ``'batch'``: of all pairs together, so that some images have many and others none (published
            code); ``'image'``: of every image's own (paper).

    Returns:
        ``(N, K)`` bool.
    """
    rows = apart.detach().flatten()[None] if selection == 'batch' else apart.detach()
    some = rows > 0
    rank = (some.sum(1).double() * (1 - ratio)).long()
    threshold = rows.sort(1, descending=True).values.gather(1, (rank - 1).clamp_min(0)[:, None])
    below = rows < threshold.masked_fill((rank == 0)[:, None], torch.inf)
    return (below & some).view_as(apart)


def ood_metric_loss(features: Tensor, tags: Tensor, centres_in: Tensor, centres_ood: Tensor, ratio: float = .2,
                    selection: str = 'batch') -> tuple[Tensor, Tensor]:
    """The two terms of L_d (Eq. 4.2), each divided by N·K as in the published code; L_d is their difference.

    The selection has no gradient, nor have the centres. Eq. 4.2 as it is written, averaged over the images, is K
    times this. L_d is not bounded from below: features that grow lower it.

    Args:
        features: ``(N, D)`` of in-distribution images.
        tags: ``(N, C)`` multi-hot.
        centres_in: ``(C, D)`` of the classes.
        centres_ood: ``(K, D)`` of the clusters of OoD images.
        ratio, selection: See :func:`closest`.

    Returns:
        Distances to the centres of the present classes, and to the closest clusters.
    """
    near, far = distances(features, centres_in.detach()), distances(features, centres_ood.detach())
    pairs = far.numel()
    return (near * tags.to(near)).sum() / pairs, (far * closest(far, ratio, selection)).sum() / pairs
