"""Noise-aware loss: ours (masked sums) against boolean indexing, forward and backward.

``python benchmarks/noise_aware_loss.py`` prints a Markdown table; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.losses import noise_aware_loss

SHAPE = (4, 21, 321, 321)


def plain(logits: Tensor, similarity: Tensor, labels: Tensor, retrieved: Tensor, detach_sigma: bool) -> Tensor:
    """Eq. (10)-(14) as they are written: pick the pixels of each set, then average."""
    valid = labels != 255
    reliable, unreliable = valid & (labels == retrieved), valid & (labels != retrieved)
    logits, similarity = logits.permute(0, 2, 3, 1), similarity.permute(0, 2, 3, 1)
    ce = F.cross_entropy(logits[reliable], labels[reliable])
    chosen = labels[unreliable]
    distances = 1 + similarity[unreliable]
    sigma = (distances.gather(1, chosen[:, None])[:, 0] / distances.max(dim=1).values) ** 7
    if detach_sigma:
        sigma = sigma.detach()
    return ce + .1 * (sigma * F.cross_entropy(logits[unreliable], chosen, reduction='none')).sum() / sigma.sum()


def ours(logits: Tensor, similarity: Tensor, labels: Tensor, retrieved: Tensor, detach_sigma: bool) -> Tensor:
    terms = noise_aware_loss(logits, similarity, labels, retrieved, detach_sigma=detach_sigma)
    return terms['loss_ce'] + terms['loss_wce']


def inputs(device: str, unreliable: float) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth cosines, blocky labels, a band of padding, and a share of pixels where the maps differ."""
    g = torch.Generator().manual_seed(0)
    n, classes, h, w = SHAPE
    similarity = F.interpolate(torch.rand(n, classes, 41, 41, generator=g) * 1.6 - .8, size=(h, w), mode='bilinear',
                               align_corners=True)
    labels = F.interpolate(torch.randint(0, classes, (n, 1, 11, 11), generator=g).float(), size=(h, w))[:, 0].long()
    retrieved = torch.where(torch.rand(n, h, w, generator=g) < unreliable, (labels + 1) % classes, labels)
    labels[:, -20:] = retrieved[:, -20:] = 255
    return similarity.to(device), labels.to(device), retrieved.to(device)


def run(loss, similarity: Tensor, labels: Tensor, retrieved: Tensor, detach: bool) -> tuple[float, Tensor, float]:
    """Value, gradient and seconds of one forward and backward."""
    similarity = similarity.detach().requires_grad_()
    # On the CPU the thread's own time, which other work on the machine disturbs least.
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if similarity.is_cuda else (int, time.process_time)
    wait()
    start = clock()
    value = loss(20 * similarity, similarity, labels, retrieved, detach)
    gradient, = torch.autograd.grad(value, similarity)
    wait()
    return value.item(), gradient, clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f'Logits {SHAPE}, {args.device}, one thread, median of {args.repeats} alternating runs.\n')
    print('| unreliable pixels | sigma | boolean indexing, ms | ours, ms | ratio | max. difference of the value '
          '| of the gradient, relative |')
    print('|---|---|---|---|---|---|---|')
    for unreliable in (.1, .3):
        for detach in (False, True):
            data = inputs(args.device, unreliable)
            results = {loss: run(loss, *data, detach) for loss in (plain, ours)}  # warm up, and compare
            times = {loss: [] for loss in results}
            for _ in range(args.repeats):
                for loss in results:
                    times[loss].append(run(loss, *data, detach)[2])
            slow, fast = (1e3 * statistics.median(times[loss]) for loss in (plain, ours))
            (value, gradient, _), (found, found_gradient, _) = results[plain], results[ours]
            off = (found_gradient - gradient).abs().max() / gradient.abs().max()
            print(f'| {unreliable:.0%} | {"detached" if detach else "attached"} | {slow:.0f} | {fast:.0f} '
                  f'| {slow / fast:.2f} | {abs(found - value):.1e} | {off:.1e} |')


if __name__ == '__main__':
    main()
