"""Mask proposals: what they share with a mask by histogram, against masks one by one; making them; objects they find.

``python benchmarks/proposals.py`` prints Markdown tables; it needs scikit-image, and higra for its last rows.
"""

from __future__ import annotations

import statistics
import time
from importlib.util import find_spec

import numpy as np
from skimage import data

from wsss_mm.datasets.toy_voc import scene
from wsss_mm.refinement import HierarchyProposals, Proposals, refine_mask

REPEATS = 5
HEIGHT, WIDTH = 375, 500
WORLD, SCENES = 100, 30


def picture(name: str) -> np.ndarray:
    """A photograph of VOC's usual size, from scikit-image's own."""
    return np.ascontiguousarray(getattr(data, name)()[:HEIGHT, :WIDTH, :3])


def plain(mask: np.ndarray, proposals: Proposals) -> tuple[np.ndarray, np.ndarray]:
    """An image made for each proposal, and compared."""
    iou, inside = np.zeros(len(proposals)), np.zeros(len(proposals))
    own = [proposals.indices[i:j] for i, j in zip(proposals.indptr[:-1], proposals.indptr[1:], strict=True)]
    for k, superpixels in enumerate(own):
        proposal = np.isin(proposals.superpixels, superpixels)
        shared = np.sum(proposal & mask)
        iou[k], inside[k] = shared / np.sum(proposal | mask), shared / np.sum(proposal)
    return iou, inside


def ready(mask: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With all masks in memory."""
    shared = (masks & mask).sum((1, 2))
    areas = masks.sum((1, 2))
    return shared / (areas + mask.sum() - shared), shared / areas


def ours(mask: np.ndarray, proposals: Proposals) -> tuple[np.ndarray, np.ndarray]:
    shared = proposals.sums(counts := proposals.counts(mask))
    return shared / (proposals.areas + counts.sum() - shared), shared / proposals.areas


def timed(run, repeats: int) -> tuple:
    """What ``run`` gives, and the median of its processor time in ms."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = run()
        times.append(1e3 * (time.process_time() - start))
    return found, statistics.median(times)


def rule_table() -> None:
    proposals = HierarchyProposals()('', picture('astronaut'))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = ((y - 180) / 120) ** 2 + ((x - 230) / 90) ** 2 < 1
    masks = proposals.masks(range(len(proposals)))
    way: dict = {}
    for name, run, repeats in (('a mask made for each', lambda: plain(mask, proposals), 1),
                               ('masks in memory', lambda: ready(mask, masks), REPEATS),
                               ('histogram and sparse product', lambda: ours(mask, proposals), REPEATS)):
        run() if repeats > 1 else None   # warm up
        way[name] = timed(run, repeats)
    (iou, inside), fast = way['histogram and sparse product']
    print(f'IoU and containment of a mask with {len(proposals)} proposals of {WIDTH} x {HEIGHT} pixels, '
          f'{proposals.num_superpixels} superpixels.\n')
    print('| way | ms | ratio | max. difference |\n|---|---|---|---|')
    for name, (found, ms) in way.items():
        off = max(np.abs(found[0] - iou).max(), np.abs(found[1] - inside).max())
        print(f'| {name} | {ms:.1f} | {ms / fast:.0f} | {off:.0e} |')
    _, ms = timed(lambda: refine_mask(mask, [100, 40, 360, 340], proposals), REPEATS)
    _, partition = timed(lambda: Proposals.from_masks(masks), 1)
    print(f'\nThe whole rule for one object: {ms:.1f} ms. Superpixels from {len(masks)} masks: {partition:.0f} ms.\n')


def generator_table() -> None:
    print(f'HierarchyProposals, 600 segments: three photographs of up to {WIDTH} x {HEIGHT} pixels, and the objects '
          f'of {SCENES} scenes of toy VOC, world {WORLD}, 96 x 96 pixels.\n')
    print('| partition | unions | ms per photograph | proposals | ms per scene | proposals | ABO | of the best 100 '
          '| recall at IoU .5 |\n|---|---|---|---|---|---|---|---|---|')
    photographs = [picture(name) for name in ('astronaut', 'chelsea', 'coffee')]
    scenes = [scene('boxes', WORLD, 'val', i) for i in range(SCENES)]
    objects = [np.stack([s.instances == k + 1 for k in range(len(s.objects))]) for s in scenes]
    for partition in ('felzenszwalb', 'slic', *(['ucm'] if find_spec('higra') else [])):
        for unions in (True, False):
            make = HierarchyProposals(partition, unions=unions)
            make('', photographs[0])   # warm up
            large, slow = timed(lambda make=make: [make('', image) for image in photographs], 1)
            small, fast = timed(lambda make=make: [make('', s.image) for s in scenes], 1)
            iou = [found.iou(masks) for found, masks in zip(small, objects, strict=True)]
            best = np.concatenate([x.max(1) for x in iou])
            first = np.concatenate([x[:, :100].max(1) for x in iou])
            counts = [np.mean([*map(len, found)]) for found in (large, small)]
            print(f'| {partition} | {"yes" if unions else "no"} | {slow / len(large):.0f} | {counts[0]:.0f} '
                  f'| {fast / len(small):.0f} | {counts[1]:.0f} | {best.mean():.3f} | {first.mean():.3f} '
                  f'| {(best >= .5).mean():.2f} |', flush=True)


if __name__ == '__main__':
    rule_table()
    generator_table()
