"""Up-sampled features without up-sampling them.

Bilinear up-sampling U (corners aligned) is linear, so what is computed from a feature map at full resolution can be
computed at the map's own resolution, exactly up to rounding:

* products with vectors, ``v·U(f) = U(v·f)``;
* means over a mask, ``Σ_p m(p)·U(f)(p) = Σ_q f(q)·(Uᵀm)(q)``;
* squared norms ``|U(f)|²``, quadratic forms in four neighbours, from five maps of products (itself, right, down and the
  two diagonals).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def interpolation_matrix(size_out: int, size_in: int, like: Tensor) -> Tensor:
    """Linear interpolation along one axis, corners aligned, as a matrix ``(size_out, size_in)`` with rows of sum 1.

    A row has at most two entries, side by side. Positions are rounded as ``F.interpolate`` rounds them.

    Args:
        size_out, size_in: Number of samples; ``size_out`` may be smaller, each may be 1.
        like: Gives the type and the device.
    """
    scale = (size_in - 1) / (size_out - 1) if size_out > 1 else 0.
    position = torch.arange(size_out, dtype=like.dtype, device=like.device) * scale
    left = position.long().clamp(max=size_in - 1)
    share = (position - left)[:, None]
    matrix = like.new_zeros(size_out, size_in).scatter_(1, left[:, None], 1 - share)
    return matrix.scatter_add_(1, (left + 1).clamp(max=size_in - 1)[:, None], share)


class UpsampledFeatures:
    """A feature map of an image, as if up-sampled to the image's size.

    For D channels, map h x w, image H x W, the plain way costs D·H·W memory and about D·H·W operations per query,
    4·D·H·W for the up-sampling itself and D·H·W for the norms. Here a query costs D·h·w + 4·H·W, a mask
    H·W·h + D·h·w, the norms 5·D·h·w + 4·H·W·h; memory is the map's and a few H·W.

    Args:
        features: ``(D, h, w)`` floating point.
        height, width: The image's size in pixels.
    """

    def __init__(self, features: Tensor, height: int, width: int) -> None:
        self.features, self.height, self.width = features, height, width
        self._rows = interpolation_matrix(height, features.shape[1], features)
        self._columns = interpolation_matrix(width, features.shape[2], features)

    def project(self, vectors: Tensor) -> Tensor:
        """Products of each pixel's feature with vectors.

        Args:
            vectors: ``(Q, D)``.

        Returns:
            ``(Q, H, W)``.
        """
        low = torch.einsum('qd,dhw->qhw', vectors, self.features)
        return F.interpolate(low[None], (self.height, self.width), mode='bilinear', align_corners=True)[0]

    def norm(self) -> Tensor:
        """Length of each pixel's feature, ``(H, W)``.

        A pixel between four neighbours has ``|Σ a_i f_i|² = Σ a_i a_j f_i·f_j`` with separable weights, so each map of
        products is spread by one matrix per axis: the squares of the interpolation's entries, or twice the product of
        its two neighbouring entries.
        """
        own, right, down, diagonals = self._neighbour_products()
        squares = [m.square() for m in (self._rows, self._columns)]
        pairs = [2 * m[:, :-1] * m[:, 1:] for m in (self._rows, self._columns)]
        total = (squares[0] @ own + pairs[0] @ down) @ squares[1].T
        total += (squares[0] @ right + pairs[0] @ diagonals / 2) @ pairs[1].T
        return total.clamp_min_(0).sqrt_()

    def masked_mean(self, masks: Tensor) -> Tensor:
        """Mean feature over the pixels of masks.

        Args:
            masks: ``(Q, H, W)`` bool, or weights >= 0.

        Returns:
            ``(Q, D)``; zero where a mask is empty.
        """
        masks = masks.to(self.features.dtype)
        share = self._rows.T @ masks @ self._columns
        total = share.flatten(1) @ self.features.flatten(1).T
        weight = masks.sum((1, 2))[:, None]
        return torch.where(weight > 0, total / weight, 0)

    def _neighbour_products(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Products over channels: itself, with the right, with the lower neighbour, and both diagonals added."""
        _, h, w = self.features.shape
        new = self.features.new_zeros
        maps = new(h, w), new(h, w - 1), new(h - 1, w), new(h - 1, w - 1)
        # Sixty-four channels at a time: the products of all of them would take five times the memory of the map.
        for f in self.features.split(64):
            above, below = f[:, :-1], f[:, 1:]
            maps[0].add_(f.square().sum(0))
            maps[1].add_((f[:, :, :-1] * f[:, :, 1:]).sum(0))
            maps[2].add_((above * below).sum(0))
            maps[3].add_((above[:, :, :-1] * below[:, :, 1:] + above[:, :, 1:] * below[:, :, :-1]).sum(0))
        return maps
