"""The dense energy and its gradient: class by class through the whole matrix of pairs, and without a graph through it.

``python benchmarks/dense_energy.py`` prints a Markdown page; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.losses import dense_energy
from wsss_mm.refinement import BilateralFilter
from wsss_mm.refinement.bilateral_filter import bilateral_features

SIZES = (('41 x 41', 41, 4, 21, 12.5, 15.), ('24 x 24', 24, 16, 7, 4., 6.))   # positions, images, classes, xy, rgb


def scene(images: int, classes: int, size: int) -> tuple[Tensor, Tensor]:
    """Pictures with edges and noise, and smooth logits."""
    g = torch.Generator().manual_seed(0)
    coarse = F.interpolate(255 * torch.rand(images, 3, 5, 5, generator=g), (size, size))
    pictures = (coarse + 6 * torch.randn(coarse.shape, generator=g)).clamp(0, 255).byte().permute(0, 2, 3, 1)
    logits = 4 * F.interpolate(torch.randn(images, classes, 6, 6, generator=g), (size, size), mode='bilinear')
    return pictures.contiguous(), logits


def plain(logits: Tensor, pictures: Tensor, xy: float, rgb: float) -> Tensor:
    """As the equation is written: a matrix of all pairs for each image, a product for each class."""
    total = logits.new_zeros(())
    features = bilateral_features(pictures.to(logits.device), xy, rgb)
    for maps, feature in zip(logits.softmax(1).flatten(2), features, strict=True):
        weights = (-(feature[:, None] - feature[None]).square().sum(2) / 2).exp()
        total = total + sum(s @ weights @ (1 - s) for s in maps) / weights.sum()
    return total / len(logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.perf_counter if args.device == 'cuda' else time.process_time
    print('# The dense energy\n\n'
          f'`OMP_NUM_THREADS=1 python benchmarks/dense_energy.py`, PyTorch {torch.__version__}, {args.device}, one '
          f'thread, processor time, median of {args.repeats} alternating runs of value and gradient. Plain: the matrix '
          'of pairs in memory, one product for each class, autograd through all. Differences are relative; cosine: of '
          'the gradients.\n')
    print('| positions | images | classes | plain, ms | exact, ms | ratio | exact: value differs by | lattice, ms '
          '| ratio | lattice: value differs by | cosine |\n|---|---|---|---|---|---|---|---|---|---|---|')
    for name, size, images, classes, xy, rgb in SIZES:
        pictures, start = scene(images, classes, size)
        ways: dict[str, Callable[[Tensor], Tensor]] = {'plain': lambda x: plain(x, pictures, xy, rgb)}   # noqa: B023
        for kernel in ('exact', 'lattice'):
            bilateral = BilateralFilter(xy, rgb, kernel)
            ways[kernel] = lambda x, b=bilateral: dense_energy(x.softmax(1), lambda m: b(pictures, m))   # noqa: B023
        times: dict[str, list[float]] = {way: [] for way in ways}
        found = {}
        for _ in range(args.repeats):
            for way, energy in ways.items():
                logits = start.to(args.device).requires_grad_()
                if args.device == 'cuda':
                    torch.cuda.synchronize()
                began = clock()
                value = energy(logits)
                value.backward()
                if args.device == 'cuda':
                    torch.cuda.synchronize()
                times[way].append(clock() - began)
                found[way] = value.item(), logits.grad.flatten()
        ms = {way: 1e3 * statistics.median(spent) for way, spent in times.items()}
        value, gradient = found['plain']
        cells = [f'{name} | {images} | {classes} | {ms["plain"]:.0f}']
        for way in ('exact', 'lattice'):
            cells.append(f'{ms[way]:.0f} | {ms["plain"] / ms[way]:.1f} | {abs(found[way][0] / value - 1):.1e}')
        cells.append(f'{F.cosine_similarity(found["lattice"][1], gradient, dim=0):.4f}')
        print('| ' + ' | '.join(cells) + ' |', flush=True)


if __name__ == '__main__':
    main()
