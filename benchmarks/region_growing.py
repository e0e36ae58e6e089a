"""Seeded region growing: one labelling of all present classes, against a union-find in Python for each class.

``python benchmarks/region_growing.py`` prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.losses import floored_probabilities, grow_seeds


def union_find(mask: np.ndarray) -> dict[tuple[int, int], int]:
    """8-connected components of a mask: pixel -> the root of its tree, pixel by pixel."""
    parent: list[int] = []
    label: dict[tuple[int, int], int] = {}

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for (y, x), value in np.ndenumerate(mask):
        if not value:
            continue
        near = [root(label[p]) for p in ((y - 1, x - 1), (y - 1, x), (y - 1, x + 1), (y, x - 1)) if p in label]
        if not near:
            near = [len(parent)]
            parent.append(near[0])
        label[y, x] = min(near)
        for other in near:
            parent[other] = label[y, x]
    return {pixel: root(i) for pixel, i in label.items()}


def plain(cues: Tensor, probabilities: Tensor, tags: Tensor) -> Tensor:
    """Image by image, class by class, pixel by pixel."""
    grown = cues.numpy().copy()
    for cue, scores, present in zip(grown, probabilities.numpy(), tags.numpy(), strict=True):
        best = np.where(present[:, None, None], scores, -1).argmax(0)
        value = np.take_along_axis(scores, best[None], 0)[0]
        proposal = np.where(cue.any(0), cue.argmax(0), -1)
        proposal = np.where(value > np.where(best == 0, .99, .85), best, proposal)
        for c in np.flatnonzero(present):
            components = union_find(proposal == c)
            kept = {i for (y, x), i in components.items() if cue[c, y, x]}
            for (y, x), i in components.items():
                if i in kept and (cue[c, y, x] or cue[:, y, x].sum() != 1):
                    cue[c, y, x] = True
    return torch.from_numpy(grown)


def scene(images: int, size: int, classes: int, present: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Cues on a quarter of the pixels, as SEC's cover, and predictions that are mostly sure of themselves."""
    g = torch.Generator().manual_seed(seed)
    tags = torch.zeros(images, classes, dtype=torch.bool)
    tags[:, 0] = True
    tags.scatter_(1, 1 + torch.rand(images, classes - 1, generator=g).argsort(1)[:, :present], True)
    logits = F.interpolate(torch.randn(images, classes, 6, 6, generator=g), (size, size), mode='bicubic')
    logits = (logits + 1.5 * tags[:, :, None, None]) * 6
    coarse = F.interpolate(torch.rand(images, 1, 10, 10, generator=g), (size, size)) < .25
    best = logits.masked_fill(~tags[:, :, None, None], -99).argmax(1, keepdim=True)
    cues = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, best, coarse)
    return cues, floored_probabilities(logits), tags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f'cpu, one thread, median of {args.repeats} alternating runs, per batch.\n')
    print('| images | map | classes | of which an image has | class by class, ms | ours, ms | ratio | pixels grown '
          '| pixels that differ |')
    print('|---|---|---|---|---|---|---|---|---|')
    for images, size, classes, present in ((20, 41, 21, 1), (20, 41, 21, 3), (16, 24, 7, 2)):
        inputs = scene(images, size, classes, present)
        times: dict = {plain: [], grow_seeds: []}
        found = {way: way(*inputs) for way in times}
        for _ in range(args.repeats):
            for way, spent in times.items():
                start = time.process_time()
                way(*inputs)
                spent.append(time.process_time() - start)
        slow, fast = (1e3 * statistics.median(spent) for spent in times.values())
        ours = found[grow_seeds]
        print(f'| {images} | {size} x {size} | {classes} | {present} + background | {slow:.0f} | {fast:.1f} '
              f'| {slow / fast:.0f} | {int((ours & ~inputs[0]).sum())} | {int((ours != found[plain]).sum())} |')


if __name__ == '__main__':
    main()
