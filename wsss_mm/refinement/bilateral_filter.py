"""Sums over all pairs of pixels, weighted by how near they are in place and colour."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.refinement.permutohedral import PermutohedralLattice
from wsss_mm.registry import TASK_UTILS

LARGEST_EXACT = 10_000    # positions; 400 MB of float32 for each image
CHUNK = 2**27             # kernel entries held at once, 512 MiB of float32


def positions_of(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """``(h w, 2)``: x and y of each pixel of ``(…, h, w, 3)`` images."""
    height, width = images.shape[-3:-1]
    y, x = torch.meshgrid(torch.arange(height, device=images.device), torch.arange(width, device=images.device),
                          indexing='ij')
    return torch.stack([x, y], -1).flatten(0, 1).to(dtype)


def bilateral_features(images: Tensor, xy: float, rgb: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Positions and colours in standard deviations.

    Args:
        images: ``(…, h, w, 3)`` uint8 RGB.
        xy: Standard deviation in positions.
        rgb: Standard deviation in grey levels.
        dtype: Of the result.

    Returns:
        ``(…, h w, 5)`` on the images' device.
    """
    colour = images.flatten(-3, -2).to(dtype) / rgb
    return torch.cat([(positions_of(images, dtype) / xy).expand(*colour.shape[:-1], 2), colour], -1)


def pair_weights(features: Tensor) -> Tensor:
    """``exp(-|f_i - f_j|^2 / 2)`` of ``(B, n, d)`` features: ``(B, n, n)``."""
    # Squares by the expansion of (a - b)^2 lose three digits, which mean field amplifies.
    return torch.cdist(features, features, compute_mode='donot_use_mm_for_euclid_dist').square_().mul_(-.5).exp_()


@TASK_UTILS.register_module()
class BilateralFilter:
    """``out_i = sum_j W_ij in_j`` with ``W_ij = exp(-|p_i - p_j|^2 / 2 xy^2 - |c_i - c_j|^2 / 2 rgb^2)``, for a batch.

    A position counts for itself with weight 1. Nothing is normalised, and no gradient is followed.

    Cost for n positions and K channels, per image: ``'exact'`` is n^2 weights and n^2 K products, the floor of the
    exact sum; ``'lattice'`` approximates it in time linear in n (:class:`PermutohedralLattice`), up to a factor that
    is the same everywhere but at the border of the positions in use, so it is for ratios of sums.

    Args:
        xy: Standard deviation in positions of the values, which are fewer than the image's pixels where they are a
            network's logits.
        rgb: Standard deviation in grey levels.
        kernel: ``'lattice'``, on the CPU, image by image; ``'exact'``, on the device of the values.

    Raises:
        ConfigError: a width that is not positive, or an unknown kernel.
    """

    def __init__(self, xy: float, rgb: float, kernel: str = 'lattice') -> None:
        for name, width in (('xy', xy), ('rgb', rgb)):
            if not width > 0:
                raise ConfigError(f'BilateralFilter {name}={width}', expected='a standard deviation above 0')
        if kernel not in ('lattice', 'exact'):
            raise ConfigError(f'BilateralFilter kernel={kernel!r}', expected="'lattice' or 'exact'")
        self.xy, self.rgb, self.kernel = xy, rgb, kernel

    @torch.no_grad()
    def __call__(self, images: Tensor, values: Tensor, valid: Tensor | None = None) -> Tensor:
        """Filter a batch; an image's result does not depend on the others.

        Args:
            images: ``(N, h, w, 3)`` uint8 RGB.
            values: ``(N, K, h, w)``; half precision is computed as float32.
            valid: ``(N, h, w)`` bool; positions outside neither give nor get anything.

        Returns:
            ``(N, K, h, w)`` on the values' device; 0 outside ``valid``. float64 stays float64 with ``'exact'``, all
            else is float32.

        Raises:
            DataError: shapes that do not fit, or images that are not uint8.
            ConfigError: ``'exact'`` with more than 10,000 positions.
        """
        check_batch('BilateralFilter', self.kernel, images, values)
        exact = self.kernel == 'exact'
        rows = values.flatten(2)
        rows = rows if exact and rows.dtype == torch.float64 else rows.float()
        inside = None if valid is None else valid.flatten(1).to(rows.device)
        if inside is not None:
            rows = torch.where(inside[:, None], rows, 0)
        with torch.autocast(values.device.type, enabled=False):
            found = self._exact(images.to(rows.device), rows) if exact else self._lattice(images, rows, inside)
        if inside is not None:
            found = torch.where(inside[:, None], found, 0)
        return found.view(values.shape)

    def _exact(self, images: Tensor, rows: Tensor) -> Tensor:
        size = max(1, CHUNK // rows.shape[2]**2)
        return torch.cat([
            torch.bmm(some, pair_weights(bilateral_features(pixels, self.xy, self.rgb, rows.dtype)))
            for some, pixels in zip(rows.split(size), images.split(size), strict=True)])

    def _lattice(self, images: Tensor, rows: Tensor, inside: Tensor | None) -> Tensor:
        values = rows.cpu()
        found = torch.zeros_like(values)
        for i, features in enumerate(bilateral_features(images.cpu(), self.xy, self.rgb)):
            index = slice(None) if inside is None else inside[i].cpu()
            chosen = features[index]
            if len(chosen):
                found[i, :, index] = PermutohedralLattice(chosen).filter(values[i, :, index].t()).t()
        return found.to(rows.device)


def check_batch(name: str, kernel: str, images: Tensor, values: Tensor, what: str = 'values') -> None:
    """Refuse images and ``(N, K, h, w)`` values that do not fit, and exact sums over too many positions.

    Args:
        name, kernel: Of the caller, for the message.
        images, values: What it got.
        what: The caller's word for the values.

    Raises:
        DataError: shapes that do not fit, or images that are not uint8.
        ConfigError: ``'exact'`` with more than 10,000 positions.
    """
    if values.ndim != 4 or 0 in values.shape or images.dtype != torch.uint8 or \
            images.shape != (len(values), *values.shape[2:], 3):
        raise DataError(f'{name} got images {tuple(images.shape)} of {images.dtype} and {what} {tuple(values.shape)}',
                        expected='(N, h, w, 3) uint8 and (N, C, h, w)')
    height, width = values.shape[2:]
    if kernel == 'exact' and height * width > LARGEST_EXACT:
        raise ConfigError(f"{name} kernel='exact' with {height} x {width} = {height * width} positions",
                          expected=f'at most {LARGEST_EXACT}', fix="set kernel='lattice'")
