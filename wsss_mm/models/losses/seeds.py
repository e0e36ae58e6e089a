"""What losses on seeds see: few labelled pixels, the tags, the image, at the resolution of the logits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_TINY = 1e-12


@dataclass(frozen=True)
class SeedBatch:
    """A batch at the size of a segmentor's logits. Class 0 is the background.

    Attributes:
        cues: ``(N, C, h, w)`` bool, C classes with the background; the seeds. They may overlap.
        tags: ``(N, C)`` bool, the classes present; the background always is.
        images: ``(N, h, w, 3)`` uint8 RGB, on the CPU, for the CRF.
        valid: ``(N, h, w)`` bool, False in padding.
    """

    cues: Tensor
    tags: Tensor
    images: Tensor
    valid: Tensor


class SeedLoss(nn.Module):
    """A loss on the logits of any segmentor, before they are enlarged; :class:`SeededSegmentor` calls it."""

    @abstractmethod
    def forward(self, logits: Tensor, batch: SeedBatch) -> dict[str, Tensor]:
        """Loss terms by name.

        Args:
            logits: ``(N, C, h, w)``.
            batch: Of the same ``N``, ``C``, ``h`` and ``w``.

        Returns:
            Keys containing ``loss`` are added up, others are logged.
        """


def floored_probabilities(logits: Tensor, floor: float = 1e-4) -> Tensor:
    """Softmax over the classes, plus ``floor``, normalised again (SEC's code): no logarithm of it is below -9.3.

    Args:
        logits: ``(N, C, h, w)``; half precision is computed as float32.
        floor: Added to every probability.

    Returns:
        ``(N, C, h, w)``, summing to 1 over the classes.
    """
    probabilities = full_precision(logits).softmax(1) + floor
    return probabilities / probabilities.sum(1, keepdim=True)


def full_precision(logits: Tensor) -> Tensor:
    """Half precision to float32; float64 stays, for gradient checks."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def safe_log(values: Tensor) -> Tensor:
    """Logarithm of probabilities, of which those below 1e-12 count as 1e-12."""
    return values.clamp_min(_TINY).log()


def cues_inside(cues: Tensor, valid: Tensor | None) -> Tensor:
    """``(N, C, h, w)`` cues as bool, without those in padding."""
    return cues.bool() if valid is None else cues.bool() & valid[:, None]
