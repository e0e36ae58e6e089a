"""Dense CRF on a VOC-sized image: the PyTorch lattice against pydensecrf, seconds and answers.

``python benchmarks/dense_crf.py > benchmarks/results/dense_crf.md``; one thread, 10 iterations, BANA's label settings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from wsss_mm.refinement import DenseCRF
from wsss_mm.refinement.dense_crf import mean_field
from wsss_mm.refinement.permutohedral import PermutohedralLattice

HEIGHT, WIDTH = 375, 500


def scene(classes: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A textured image with pixel noise, and smooth class probabilities that ignore its edges."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    texture = np.stack([127 + 80 * np.sin(x / 37 + c) * np.cos(y / 29 - c) for c in range(3)], -1)
    checks = 60 * ((x // 60 + y // 45) % 2)[..., None] - 30
    image = np.clip(texture + checks + rng.normal(0, noise, texture.shape), 0, 255).astype(np.uint8)
    logits = torch.from_numpy(rng.normal(0, 2, (1, classes, 6, 8)))
    logits = torch.nn.functional.interpolate(logits, (HEIGHT, WIDTH), mode='bilinear', align_corners=False)
    return image, logits[0].softmax(0).float().numpy()


def seconds(runs: list[Callable[[], object]], repeats: int) -> list[float]:
    """Processor seconds of each, the fastest of some; taken in turns, so that a busy machine slows all alike."""
    times = [[] for _ in runs]
    for _ in range(repeats):
        for run, found in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            found.append(time.process_time() - start)
    return [min(found) for found in times]


def in_float64(lattice: PermutohedralLattice) -> PermutohedralLattice:
    """The same lattice with float64 weights."""
    for name, value in vars(lattice).items():
        if torch.is_tensor(value) and value.is_floating_point():
            setattr(lattice, name, value.double())
    return lattice


def exact_posterior(crf: DenseCRF, image: np.ndarray, unary: np.ndarray) -> np.ndarray:
    """The same lattices and updates, in float64."""
    kernels = [(weight, in_float64(lattice)) for weight, lattice, _ in crf.prepare(image)._kernels]
    ones = torch.ones(HEIGHT * WIDTH, 1, dtype=torch.float64)
    kernels = [(weight, lattice, lattice.filter(ones).rsqrt()) for weight, lattice in kernels]
    energies = torch.from_numpy(unary).double().view(len(unary), -1).t()
    return mean_field(energies, kernels, crf.iterations).t().numpy().reshape(unary.shape)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    settings = (4, 55, 3, 3, 3)
    theirs, ours = DenseCRF(*settings, backend='pydensecrf'), DenseCRF(*settings, backend='torch')
    print(f'Dense CRF, {WIDTH} x {HEIGHT}, {ours.iterations} iterations, one thread, processor seconds, best of '
          f'{repeats}. "Next" is another unary of the same image, the lattices being there. Ratio: torch / pydensecrf, '
          'below 1 is faster.\n')
    print('| image | K | lattice points | pydensecrf s | torch s | ratio | pydensecrf next s | torch next s | ratio | '
          'max abs dQ | argmax equal | pydensecrf from float64 | torch from float64 |')
    print('|---|---|---|---|---|---|---|---|---|---|---|---|---|')
    for name, noise in (('smooth', 0), ('noisy, sigma 8', 8), ('noisy, sigma 25', 25)):
        for classes in (3, 21):
            image, probabilities = scene(classes, noise)
            unary = -np.log(np.clip(probabilities, 1e-5, 1))
            prepared = [crf.prepare(image) for crf in (theirs, ours)]
            answers = [crf(image, probabilities) for crf in (theirs, ours)]
            first = seconds([partial(crf, image, probabilities) for crf in (theirs, ours)], repeats)
            following = seconds([partial(p.infer, unary) for p in prepared], repeats)
            exact = exact_posterior(ours, image, unary)
            equal = (answers[0].argmax(0) == answers[1].argmax(0)).mean()
            cells = [name, classes, prepared[1]._kernels[0][1].size, f'{first[0]:.2f}', f'{first[1]:.2f}',
                     f'{first[1] / first[0]:.2f}', f'{following[0]:.2f}', f'{following[1]:.2f}',
                     f'{following[1] / following[0]:.2f}', f'{np.abs(answers[0] - answers[1]).max():.1e}',
                     f'{100 * equal:.4f} %', *(f'{np.abs(a - exact).max():.1e}' for a in answers)]
            print('| ' + ' | '.join(map(str, cells)) + ' |', flush=True)


if __name__ == '__main__':
    main()
