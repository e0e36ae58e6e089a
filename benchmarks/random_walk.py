"""Random walk of PSA and IRN: no matrix, against the published squarings of a dense one.

``python benchmarks/random_walk.py`` prints a Markdown table, in half a minute of processor time. At the largest size a
sixteenth of one squaring is timed, and counted as often as the published code needs it. The memory is that of a process
of its own under ``/usr/bin/time -v``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from wsss_mm.models.affinity import neighbour_offsets
from wsss_mm.refinement import random_walk

BETA, STEPS, SQUARINGS, RADIUS, CLASSES = 8, 256, 8, 5, 3
OFFSETS = neighbour_offsets(RADIUS)
TIME = '/usr/bin/time'


def draw(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Maps of a background and two classes, and affinities of features that are alike within blobs."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 8, 6, 7, generator=generator)
    features = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')[0]
    features = features + .02 * torch.randn(features.shape, generator=generator)
    affinities = torch.zeros(len(OFFSETS), height, width)
    for p, (dy, dx) in enumerate(OFFSETS.tolist()):
        rolled = features.roll((-dy, -dx), (1, 2))
        affinities[p] = (-(features - rolled).abs().mean(0)).exp()
    maps = torch.rand(1, CLASSES, 6, 7, generator=generator)
    return torch.nn.functional.interpolate(maps, (height, width), mode='bilinear')[0], affinities


def transition(affinities: Tensor) -> Tensor:
    """T of the equations, ``(N, N)`` float32."""
    _, height, width = affinities.shape
    cell = torch.arange(height * width).view(height, width)
    matrix = torch.eye(height * width)
    for affinity, (dy, dx) in zip(affinities, OFFSETS.tolist(), strict=True):
        columns = slice(max(-dx, 0), width - max(dx, 0))
        first = cell[:height - dy, columns]
        second = first + dy * width + dx
        matrix[first, second] = matrix[second, first] = affinity[:height - dy, columns]
    matrix = matrix.pow_(BETA)
    return matrix.div_(matrix.sum(0))


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    best = float('inf')
    for _ in range(repeats):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def row(what: str, height: int, width: int, whole: bool) -> str:
    maps, affinities = draw(height, width)
    ours = seconds(lambda: random_walk(maps, affinities, OFFSETS, BETA, STEPS), 3)
    matrix = transition(affinities)
    if whole:
        start = time.process_time()
        for _ in range(SQUARINGS):
            matrix = matrix @ matrix
        published = time.process_time() - start
        walked = (maps.flatten(1) @ matrix).view_as(maps)
        difference = f'{(walked - random_walk(maps, affinities, OFFSETS, BETA, STEPS)).abs().max():.1e}'
    else:   # a strip of the square: all rows would take minutes, and each takes the same
        strip = matrix[:matrix.shape[0] // 16].clone()
        published = 16 * SQUARINGS * seconds(lambda: strip @ matrix)
        difference = '-'
    return (f'| {what} | {height} x {width} | {published:.3g} s | {ours:.3g} s | {published / ours:.0f} | '
            f'{difference} | {4 * (height * width) ** 2 / 2 ** 20:.0f} MiB |')


def peak(height: int, width: int) -> str:
    """Memory of a walk in a process of its own, above that of the imports alone."""
    def run(size: str) -> int:
        done = subprocess.run([TIME, '-v', sys.executable, __file__, size], capture_output=True, text=True, check=True)
        found = re.search(r'Maximum resident set size \(kbytes\): (\d+)', done.stderr)
        assert found
        return int(found[1])
    walk, nothing = run(f'{height}x{width}'), run('1x1')
    return f'{walk / 2 ** 10:.0f} MiB, of which {nothing / 2 ** 10:.0f} MiB with a walk over one pixel'


if __name__ == '__main__':
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        random_walk(*draw(*map(int, sys.argv[1].split('x'))), OFFSETS, BETA, STEPS)
        sys.exit()
    print(f'{CLASSES} maps, radius {RADIUS}, {STEPS} steps: {SQUARINGS} squarings of the matrix in float32, or shifted '
          'multiply-adds in float64, on one core. Processor times, without the making of the matrix.\n')
    print('| image, stride | cells | squarings | ours | ratio | max. difference | one matrix |')
    print('|---|---|---|---|---|---|---|')
    print(row('224 x 224, 8', 28, 28, True))
    print(row('448 x 448, 8', 56, 56, True))
    print(row('375 x 500, 8', 47, 63, True))
    print(row('375 x 500, 4 (1/16 of one squaring, times 128)', 94, 125, False))
    print(f'\n1000 x 1000 at stride 4 (250 x 250 cells): peak memory {peak(250, 250)}.')
