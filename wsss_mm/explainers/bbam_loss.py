"""The maths of BBAM (Lee et al., CVPR 2021): masks enlarged, their loss and their optimiser.

All functions take a batch of objects whose grids are padded with zeros to one size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def upsampling_matrix(cells: int, size: int, padded: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bilinear interpolation along one axis as a matrix, ``align_corners=True``.

    ``A_y M A_x^T`` enlarges a mask as ``F.interpolate`` does. Masks of several sizes, padded with zeros, go through one
    batched product, and its backward pass is deterministic on GPUs. It takes ``H h w + H w W`` multiplications per
    mask, 0.1 G for 50 x 84 cells and 800 x 1344 pixels, against about 100 G of the backbone.

    Args:
        cells: Number of cells.
        size: Number of pixels.
        padded: Number of columns; those beyond ``cells`` are zero.
        dtype: Of the weights, as of the masks.

    Returns:
        ``(size, padded)``.
    """
    # rounded as F.interpolate has it: places differ from exact ones by it, and so do the weights
    scale = torch.tensor((cells - 1) / (size - 1) if size > 1 else 0., dtype=dtype)
    place = scale * torch.arange(size, dtype=dtype)
    low = place.floor().clamp(max=cells - 1).long()
    part = place - low
    matrix = torch.zeros(size, padded or cells, dtype=dtype)
    pixels = torch.arange(size)
    matrix[pixels, low] = 1 - part
    matrix[pixels, (low + 1).clamp(max=cells - 1)] += part
    return matrix


def total_variation(masks: Tensor, rows: Tensor, columns: Tensor, beta: float = 3.) -> Tensor:
    """Sum of ``|difference|^beta`` over neighbours in rows, columns and, each counted twice, diagonals.

    It is in the published code only.

    Args:
        masks: ``(B, h, w)``.
        rows, columns: ``(B,)`` size of each grid within the padded ones.
        beta: The power.

    Returns:
        ``(B,)``.
    """
    height, width = masks.shape[1:]
    # a neighbour to the right or below is of the grid; to the left it is wherever the cell itself is
    down = (torch.arange(1, height, device=masks.device) < rows[:, None])[:, :, None]
    right = (torch.arange(1, width, device=masks.device) < columns[:, None])[:, None]

    def total(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
        return ((first - second).abs().pow(beta) * valid).sum((1, 2))
    return (total(masks[:, 1:], masks[:, :-1], down) + total(masks[:, :, 1:], masks[:, :, :-1], right)
            + 2 * total(masks[:, 1:, 1:], masks[:, :-1, :-1], down & right)
            + 2 * total(masks[:, 1:, :-1], masks[:, :-1, 1:], down & right))


def prediction_change(probability: Tensor, deltas: Tensor | None, reference_probability: Tensor,
                      reference_deltas: Tensor | None, owner: Tensor, weight: Tensor, objects: int
                      ) -> tuple[Tensor, Tensor]:
    """How far the two heads' predictions are from those on the whole image, Eq. (5.3) without its weights.

    Args:
        probability, reference_probability: ``(R,)`` of the object's class.
        deltas, reference_deltas: ``(R, 4)`` of the object's class; None without a box head.
        owner: ``(R,)`` which object a proposal is of.
        weight: ``(R,)``, 1 / n of the owner.
        objects: Number of objects B.

    Returns:
        ``(B,)`` mean over the proposals of the mean of ``|t - t'|`` over four coordinates, ``(B,)`` of ``|p - p'|``.
    """
    def gathered(change: Tensor) -> Tensor:
        return change.new_zeros(objects).index_add(0, owner, change * weight)
    change_cls = gathered((probability - reference_probability).abs())
    if deltas is None or reference_deltas is None:
        return torch.zeros_like(change_cls), change_cls
    return gathered((deltas - reference_deltas).abs().mean(1)), change_cls


def adam_step(masks: Tensor, gradient: Tensor, first: Tensor, second: Tensor, steps: Tensor, lr: float,
              betas: tuple[float, float] = (.9, .999), eps: float = 1e-8) -> None:
    """One step of Adam in place, each object with its own count of steps, then masks are clamped to [0, 1].

    As ``torch.optim.Adam`` on each object alone.

    Args:
        masks, gradient, first, second: ``(B, h, w)``, the masks, their gradient and the two moments.
        steps: ``(B,)`` float, number of the step, from 1.
        lr, betas, eps: As of ``torch.optim.Adam``.
    """
    first.mul_(betas[0]).add_(gradient, alpha=1 - betas[0])
    second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    # in float64, as torch has them: 1 - .999 in float32 is off by 6e-5 of itself
    steps = steps.double()[:, None, None]
    size, correction = (lr / (1 - betas[0] ** steps)).to(masks), (1 - betas[1] ** steps).sqrt().to(masks)
    masks.sub_(size * first / (second.sqrt() / correction + eps)).clamp_(0, 1)
