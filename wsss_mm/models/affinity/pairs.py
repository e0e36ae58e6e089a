"""Which pixels are compared with which."""

from __future__ import annotations

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError


def neighbour_offsets(radius: int) -> Tensor:
    """Offsets to a pixel's neighbours in half of the disc ``dx² + dy² < radius²``; the other half is their negatives.

    Args:
        radius: In pixels of the map; PSA 5 (34 offsets), IRN 10 in training (152) and 5 in the walk.

    Returns:
        ``(P, 2)`` int64 ``dy, dx``, with ``dy > 0``, or ``dy = 0`` and ``dx > 0``; row by row.

    Raises:
        ConfigError: a radius below 2, which has no neighbour.
    """
    if radius < 2:
        raise ConfigError(f'radius={radius}', expected='2 or more pixels')
    reach = torch.arange(-radius + 1, radius)
    dy, dx = torch.meshgrid(torch.arange(radius), reach, indexing='ij')
    kept = (dy ** 2 + dx ** 2 < radius ** 2) & ((dy > 0) | (dx > 0))
    return torch.stack([dy[kept], dx[kept]], 1)
