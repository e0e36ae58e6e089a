"""The maps of BANA's label stage (Oh et al., CVPR 2021, Sec. 3.2 "Pseudo label generation"), on tensors of one image.

Symbols: H x W the image, D channels, K classes present (ascending ids), B boxes. ``background`` is the definite
background, ``(H, W)`` bool: outside every box. All maps are at full resolution; the features never are
(:class:`~wsss_mm.localization.bilinear.UpsampledFeatures`), although the numbers are those of the published code, which
up-samples the features first (the paper's footnote 3 up-samples the maps).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization.bilinear import UpsampledFeatures


def cosine_maps(features: UpsampledFeatures, vectors: Tensor, norm: Tensor | None = None) -> Tensor:
    """Cosine similarity of each pixel's feature with vectors, negative ones set to 0.

    Args:
        features: The image's features.
        vectors: ``(Q, D)``; a zero vector gives a zero map.
        norm: ``features.norm()`` where it is known already.

    Returns:
        ``(Q, H, W)``.
    """
    norm = features.norm() if norm is None else norm
    return features.project(F.normalize(vectors, dim=1)).relu_().div_(norm.clamp_min(1e-12))


def background_queries(features: UpsampledFeatures, background: Tensor, grid_size: int = 1) -> Tensor:
    """Mean feature of the definite background in each grid cell that has some (Eq. 1).

    Args:
        features: The image's features.
        background: ``(H, W)`` bool.
        grid_size: N of the N x N cells.

    Returns:
        ``(J, D)``, row-major; J is 0 without definite background.
    """
    if grid_size == 1:
        members = background[None]
    else:
        # Imported here, for it brings all networks with it, and the workers that call this need none.
        from wsss_mm.models.heads.background_aware_pooling import cell_index
        height, width = background.shape
        cells = cell_index(height, width, grid_size, background.device).view(height, width)
        members = (cells == torch.arange(grid_size ** 2, device=cells.device)[:, None, None]) & background
    return features.masked_mean(members[members.flatten(1).any(1)])


def background_attention(features: UpsampledFeatures, background: Tensor, grid_size: int = 1,
                         norm: Tensor | None = None) -> Tensor:
    """Background attention map A (Eq. 2 and 3): mean of the cosines with all queries.

    Args:
        features, background, grid_size: As in :func:`background_queries`.
        norm: ``features.norm()`` where it is known already.

    Returns:
        ``(H, W)`` in [0, 1]; 0 everywhere without definite background, where the mean would be over nothing.
    """
    queries = background_queries(features, background, grid_size)
    if not len(queries):
        return queries.new_zeros(background.shape)
    return cosine_maps(features, queries, norm).mean(0)


def threshold_background(attention: Tensor, background: Tensor, rel_threshold: float = .99,
                         mode: str = 'relative') -> Tensor:
    """Background map u_0 (Eq. 7): confident attention inside boxes, 1 outside.

    Args:
        attention: ``(H, W)``.
        background: ``(H, W)`` bool.
        rel_threshold: Lower values become 0, others stay as they are.
        mode: ``'relative'`` to the map's maximum, inside and outside boxes (the published code), or ``'absolute'`` (the
            paper's words).

    Returns:
        ``(H, W)`` in [0, 1].

    Raises:
        ConfigError: another mode.
    """
    if mode not in ('relative', 'absolute'):
        raise ConfigError(f'threshold_mode={mode!r}', expected="'relative' or 'absolute'")
    threshold = rel_threshold * (attention.max() if mode == 'relative' else 1)
    return torch.where(attention < threshold, 0, attention).masked_fill(background, 1)


def background_class_map(features: UpsampledFeatures, weight: Tensor, background: Tensor) -> Tensor:
    """Class map of the background class, in the place of u_0: the paper's "Y_crf w/o u_0" (Table 1).

    Normalised like the class maps (Eq. 5), its region being the whole image.

    Args:
        features: The image's features.
        weight: ``(D,)`` classifier weights of the background class.
        background: ``(H, W)`` bool, True outside all boxes.

    Returns:
        ``(H, W)`` in [0, 1]; 1 outside boxes.
    """
    raw = features.project(weight[None])[0].relu_()
    return torch.where(background, 1., raw / (raw.max() + 1e-12))


def box_class_maps(features: UpsampledFeatures, weights: Tensor, boxes: Tensor, index: Tensor,
                   box_max: str = 'per_box') -> Tensor:
    """Class maps u_c (Eq. 5 and 6): activation maps divided by their maximum, 0 outside the class's boxes.

    Args:
        features: The image's features.
        weights: ``(K, D)`` classifier weights of the classes present.
        boxes: ``(B, 4)`` int64 pixels, half-open, none empty.
        index: ``(B,)`` int64, row of ``weights`` for each box.
        box_max: ``'per_box'`` divides by the maximum in each box, and a later box overwrites an earlier one of its
            class (the published code); ``'per_class'`` by the maximum over all boxes of the class (Eq. 5).

    Returns:
        ``(K, H, W)`` in [0, 1].

    Raises:
        ConfigError: another ``box_max``.
    """
    if box_max not in ('per_box', 'per_class'):
        raise ConfigError(f'box_max={box_max!r}', expected="'per_box' or 'per_class'")
    raw = features.project(weights).relu_()
    maps = torch.zeros_like(raw)
    # One slice per box: boxes have different sizes, and a later one must overwrite an earlier one.
    for (x1, y1, x2, y2), c in zip(boxes.tolist(), index.tolist(), strict=True):
        inside = raw[c, y1:y2, x1:x2]
        maps[c, y1:y2, x1:x2] = inside / (inside.max() + 1e-12) if box_max == 'per_box' else inside
    return maps if box_max == 'per_box' else maps / (maps.amax((1, 2), keepdim=True) + 1e-12)


def crf_input(background_map: Tensor, class_maps: Tensor, background: Tensor, unary_softmax: bool = True) -> Tensor:
    """Scores that the CRF starts from.

    Args:
        background_map: u_0, ``(H, W)``.
        class_maps: u_c, ``(K, H, W)``.
        background: ``(H, W)`` bool.
        unary_softmax: Softmax over the scores of the pixels inside boxes, as the published code does; False
            concatenates them (the paper's words).

    Returns:
        ``(1 + K, H, W)`` in [0, 1]; (1, 0, …) outside boxes.
    """
    scores = torch.cat([background_map[None], class_maps])
    return torch.where(background, scores, scores.softmax(0)) if unary_softmax else scores


def best_class(maps: Tensor) -> Tensor:
    """Index ``(H, W)`` of the highest of ``(K, H, W)`` maps, of equal ones the lower."""
    return maps.max(0).indices   # argmax does the same ten times slower on the CPU, along the first axis


def crf_labels(posterior: Tensor, inside: Tensor) -> Tensor:
    """Y_crf: the likeliest class, where each class may be in its own boxes only.

    Args:
        posterior: Q, ``(1 + K, H, W)``.
        inside: ``(K, H, W)`` bool, the union of each class's boxes.

    Returns:
        ``(H, W)`` int64, 0 background, k the k-th class; of equal values the lower.
    """
    return best_class(torch.cat([posterior[:1], posterior[1:] * inside]))


def retrieval_maps(features: UpsampledFeatures, labels: Tensor, fallback: Tensor, inside: Tensor,
                   norm: Tensor | None = None) -> Tensor:
    """Correlation maps C_c (Eq. 8 and 9): cosines with the mean feature of each class in Y_crf.

    Their :func:`best_class` is Y_ret (Eq. 10). Negative cosines are set to 0 as in the published code; features after a
    ReLU, and so their means, have none.

    Args:
        features: The image's features.
        labels: Y_crf, ``(H, W)`` int64 with 0…K as from :func:`crf_labels`.
        fallback: ``(1 + K, D)``, the prototypes of classes without a pixel in ``labels`` (classifier weights).
        inside: ``(K, H, W)`` bool, the union of each class's boxes.
        norm: ``features.norm()`` where it is known already.

    Returns:
        ``(1 + K, H, W)``; background is 1 outside all boxes, a class 0 outside its own.
    """
    members = labels == torch.arange(len(fallback), device=labels.device)[:, None, None]
    prototypes = torch.where(members.flatten(1).any(1)[:, None], features.masked_mean(members), fallback)
    maps = cosine_maps(features, prototypes, norm)
    maps[0].masked_fill_(~inside.any(0), 1)
    maps[1:].masked_fill_(~inside, 0)
    return maps
