"""The alpha sweep of one VOC-sized image: one lattice for all alphas, against a CRF from scratch for each.

``python benchmarks/alpha_sweep.py`` prints a Markdown table. Both label the same class maps of two classes with
``(1 - max)^alpha`` as background and the CRF of PSA.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from wsss_mm.evaluation import ConfusionMatrix, sweep_image
from wsss_mm.pseudo_labels.class_map_labels import background_scores
from wsss_mm.refinement import DenseCRF
from wsss_mm.structures import ClassMaps

CLASSES = 21


def scene(height: int, width: int, noise: float) -> tuple[np.ndarray, ClassMaps, np.ndarray]:
    """An image of smooth colours with grain, two blurred maps, a ground truth."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    colours = 128 + 60 * np.stack([np.sin(x / 40 + c) * np.cos(y / (30 + 9 * c)) for c in range(3)], -1)
    image = (colours + rng.normal(0, noise, colours.shape)).clip(0, 255).astype(np.uint8)
    centres = ((.35, .4), (.7, .6))
    maps = np.stack([np.exp(-((y / height - a)**2 + (x / width - b)**2) / .05) for a, b in centres])
    truth = np.where(maps.max(0) > .4, np.array([3, 8])[maps.argmax(0)], 0)
    return image, ClassMaps('a', np.array([3, 8]), maps.astype(np.float32), height, width), truth.astype(np.uint8)


def plain(image: np.ndarray, maps: ClassMaps, truth: np.ndarray, alphas: list[float], crf: DenseCRF) -> np.ndarray:
    """A whole CRF for each alpha."""
    counts, ids, stack = [], np.concatenate([[0], maps.class_ids]).astype(np.uint8), torch.from_numpy(maps.maps)
    for alpha in alphas:
        scores = torch.cat([background_scores(stack, background='power', alpha=alpha)[None], stack])
        labels = ids[crf(image, scores.numpy()).argmax(0)]
        counts.append(ConfusionMatrix(CLASSES).update(labels, truth).counts)
    return np.stack(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    crf, alphas = DenseCRF(preset='psa'), [2., 4., 6., 9., 12., 16., 24., 32.]
    print('| image, height x width | grain | alphas | CRF for each alpha, s | one lattice, s | ratio | '
          'pixels that differ |')
    print('|---|---:|---:|---:|---:|---:|---:|')
    for height, width, noise in ((96, 96, 8.), (375, 500, 4.), (375, 500, 20.)):
        image, maps, truth = scene(height, width, noise)
        times: dict[str, list[float]] = dict(plain=[], ours=[])
        for _ in range(args.repeats if height < 200 else 1):
            start = time.perf_counter()
            expected = plain(image, maps, truth, alphas, crf)
            middle = time.perf_counter()
            found = sweep_image(maps, truth, CLASSES, alphas, image, crf)[1]
            times['plain'].append(middle - start)
            times['ours'].append(time.perf_counter() - middle)
        slow, fast = (statistics.median(v) for v in times.values())
        print(f'| {height} x {width} | {noise:g} | {len(alphas)} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} | '
              f'{np.abs(found - expected).sum() // 2} |')


if __name__ == '__main__':
    main()
