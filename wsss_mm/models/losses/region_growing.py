"""Seeded region growing (DSRG, CVPR 2018, section 3.2): seeds spread over the confident pixels they touch."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from wsss_mm.errors import ConfigError

# 8 neighbours within a map, none between the maps of a stack.
_NEIGHBOURS = np.zeros((3, 3, 3), bool)
_NEIGHBOURS[1] = True


@torch.no_grad()
def grow_seeds(cues: Tensor, probabilities: Tensor, tags: Tensor, foreground_threshold: float = .85,
               background_threshold: float = .99, valid: Tensor | None = None) -> Tensor:
    """Grow every image's cues.

    1. A pixel proposes the present class of the highest probability where that is above its threshold, also on top
       of a cue of another class; elsewhere the class of its cue, the lowest one where cues overlap; else none.
    2. Of the 8-connected components of equal proposals, those of a present class are taken that hold a cue of it.
    3. Their pixels are added to the class, except those that are a cue of exactly one other class. So a region grows
       through foreign cues without taking them.

    The published code does 2 and 3 class by class on cues that it changes meanwhile. A pixel has one proposal, so
    only that class's turn can change it, and no other turn reads it: all classes at once give the same.

    Cost: the published union-find is in Python and visits all pixels for each class; here the masks of the P present
    (image, class) pairs are stacked and labelled in one call, O(P h w), and the rest is indexing. The floor is one
    visit of each pixel. What crosses from a GPU are two maps per image.

    Args:
        cues: ``(N, C, h, w)`` bool, class 0 the background; they may overlap.
        probabilities: ``(N, C, h, w)``; of all classes, not renormalised over the present ones.
        tags: ``(N, C)`` bool, the present classes with the background.
        foreground_threshold, background_threshold: A probability has to be larger than this.
        valid: ``(N, h, w)`` bool, False in padding, through which nothing grows.

    Returns:
        ``(N, C, h, w)`` bool, a new tensor; no cue is ever removed.

    Raises:
        ConfigError: a threshold outside 0…1.
    """
    check_thresholds(foreground_threshold, background_threshold)
    cues, tags = cues.bool(), tags.bool()
    proposal = _proposals(cues, probabilities, tags, foreground_threshold, background_threshold, valid)
    own = cues.gather(1, proposal.clamp_max(cues.shape[1] - 1)[:, None])[:, 0]   # read only where there is a proposal
    free = own | (cues.sum(1, dtype=torch.int16) != 1)

    images, present = (index.numpy() for index in tags.cpu().nonzero(as_tuple=True))
    masks = proposal.cpu().numpy()[images] == present[:, None, None]
    components, number = ndimage.label(masks, _NEIGHBOURS)
    taken = np.zeros(number + 1, bool)
    taken[components[own.cpu().numpy()[images] & masks]] = True
    grown = cues.clone()
    added = torch.from_numpy(taken[components]).to(cues.device)
    rows, columns = (torch.from_numpy(index).to(cues.device) for index in (images, present))
    grown[rows, columns] |= added & free[rows]
    return grown


def check_thresholds(foreground: float, background: float) -> None:
    """Refuse thresholds that are no probabilities.

    Raises:
        ConfigError: one outside 0…1.
    """
    for name, value in (('foreground_threshold', foreground), ('background_threshold', background)):
        if not 0 <= value <= 1:
            raise ConfigError(f'{name}={value}', expected='a probability, 0 to 1')


def _proposals(cues: Tensor, probabilities: Tensor, tags: Tensor, foreground: float, background: float,
               valid: Tensor | None) -> Tensor:
    """``(N, h, w)`` int64 class proposed by each pixel; C where none is."""
    none = cues.shape[1]
    best = probabilities.masked_fill(~tags[:, :, None, None], -1).max(1)
    confident = torch.where(best.indices == 0, best.values > background, best.values > foreground)
    numbers = torch.arange(none, dtype=torch.int16, device=cues.device)[:, None, None]
    proposal = torch.where(confident, best.indices, torch.where(cues, numbers, none).amin(1))
    return proposal if valid is None else torch.where(valid, proposal, none)
