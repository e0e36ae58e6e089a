"""Class maps at every background threshold: one pass (ours) against an arg max and a confusion matrix per threshold.

``python benchmarks/threshold_curve.py`` prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from wsss_mm.evaluation import ThresholdCurve

CLASSES, SIZE, IMAGES = 21, (375, 500), 4


def images(present: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Smooth maps such as a network's, a truth of blots, a border of ignored pixels."""
    generator = torch.Generator().manual_seed(present)
    found = []
    for _ in range(IMAGES):
        maps = F.interpolate(torch.rand(1, present, 24, 32, generator=generator) ** 2, SIZE, mode='bilinear')[0]
        ids = torch.randperm(CLASSES - 1, generator=generator)[:present].sort().values + 1
        truth = torch.where(maps.amax(0) > .3, ids[maps.argmax(0)], 0).to(torch.uint8).numpy()
        truth[:5] = 255
        found.append((maps.numpy(), ids.numpy(), truth))
    return found


def plain(data: list, thresholds: np.ndarray) -> np.ndarray:
    """``(T, C, C)``: the published evaluation, one threshold after the other."""
    counts = np.zeros((len(thresholds), CLASSES, CLASSES), np.int64)
    for t, threshold in enumerate(thresholds):
        for maps, ids, truth in data:
            planes = np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
            prediction = np.concatenate([[0], ids])[planes.argmax(0)]
            known = truth != 255
            counts[t] += np.bincount(truth[known].astype(np.int64) * CLASSES + prediction[known],
                                     minlength=CLASSES ** 2).reshape(CLASSES, CLASSES)
    return counts


def ours(data: list, thresholds: np.ndarray) -> np.ndarray:
    curve = ThresholdCurve(CLASSES, thresholds)
    for image in data:
        curve.update(*image)
    return curve.confusion()


def seconds(run: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    # The process's own time, which other work on the machine disturbs least.
    start = time.process_time()
    return run(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f'{IMAGES} images of {SIZE[1]} x {SIZE[0]}, {CLASSES} classes, one thread, median of {args.repeats} '
          'alternating runs.\n')
    print('| classes present | thresholds | per threshold, ms an image | one pass, ms an image | ratio '
          '| max. difference of a count |')
    print('|---|---|---|---|---|---|')
    for present in (1, 3):
        data = images(present)
        for number in (20, 101):
            thresholds = np.linspace(0, 1, number)
            times: dict[str, list[float]] = dict(plain=[], ours=[])
            for _ in range(args.repeats):
                expected, slow = seconds(lambda d=data, t=thresholds: plain(d, t))
                found, fast = seconds(lambda d=data, t=thresholds: ours(d, t))
                times['plain'].append(slow)
                times['ours'].append(fast)
            slow, fast = (1e3 * statistics.median(v) / IMAGES for v in times.values())
            print(f'| {present} | {number} | {slow:.0f} | {fast:.1f} | {slow / fast:.0f} '
                  f'| {np.abs(expected - found).max()} |')


if __name__ == '__main__':
    main()
