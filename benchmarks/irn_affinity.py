"""IRN's losses on pairs: shared path maxima, offset by offset, against tables of indices.

``python benchmarks/irn_affinity.py`` prints a Markdown table; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.affinity.irn_losses import irn_losses
from wsss_mm.models.affinity.paths import search_paths, source_window

EPS = 1e-5
Losses = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]


class Indexed:
    """The plain form: indices of every cell of every path, gathered and max-pooled, and groups and pairs as tensors."""

    def __init__(self, height: int, width: int, radius: int, device: str) -> None:
        offsets, paths = search_paths(radius)
        rows, columns = source_window(height, width, radius, 'inner')
        flat = torch.arange(height * width, device=device).view(height, width)
        self.source = flat[rows, columns].flatten()
        self.offsets = torch.tensor(offsets, device=device)
        step = torch.tensor([width, 1], device=device)
        self.target = self.source + (self.offsets * step).sum(1)[:, None]
        by_length: dict[int, list] = {}
        for path in paths:
            by_length.setdefault(len(path), []).append(path)
        self.indices = [self.source + (torch.tensor(group, device=device) * step).sum(2)[..., None]
                        for group in by_length.values()]

    def tensors(self) -> int:
        """Bytes of the tables."""
        return sum(index.numel() * index.element_size() for index in (*self.indices, self.source, self.target))

    def __call__(self, boundary: Tensor, displacement: Tensor, labels: Tensor) -> dict[str, Tensor]:
        flat = boundary.flatten(1)
        parts = []
        for index in self.indices:
            cells = flat[:, index.flatten()].view(-1, 1, *index.shape[1:])
            pooled = F.max_pool2d(cells, (index.shape[1], 1))
            parts.append(pooled.view(len(flat), index.shape[0], -1))
        affinity = 1 - torch.cat(parts, 1)
        labels = labels.flatten(1)
        one, other = labels[:, None, self.source], labels[:, self.target]
        valid = (one < 21) & (other < 21)
        both_bg = (valid & (one == other) & (one == 0)).float()
        same_fg = (valid & (one == other) & (one > 0)).float()
        different = (valid & (one != other)).float()
        num_bg, num_fg, num_neg = (group.sum() + EPS for group in (both_bg, same_fg, different))
        together, apart = -(affinity + EPS).log(), -(1 + EPS - affinity).log()
        places = displacement.flatten(2)
        moved = places[:, :, None, self.source] - places[:, :, self.target]
        off = moved - self.offsets.t()[None, :, :, None]
        return dict(
            pos=(together * both_bg).sum() / num_bg / 2 + (together * same_fg).sum() / num_fg / 2,
            neg=(apart * different).sum() / num_neg,
            disp_fg=(off.abs() * same_fg[:, None]).sum() / (2 * same_fg.sum() + EPS),
            disp_bg=(moved.abs() * both_bg[:, None]).sum() / (2 * both_bg.sum() + EPS))


def example(count: int, size: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth maps and label maps in patches, some ignored; 8 levels of the boundary, so that maxima tie."""
    generator = torch.Generator().manual_seed(0)

    def noise(channels: int, cells: int) -> Tensor:
        small = torch.rand(count, channels, cells, cells, generator=generator)
        return F.interpolate(small, (size, size), mode='bilinear', align_corners=False)
    boundary = (noise(1, size // 4)[:, 0] * 8).round() / 8
    labels = torch.tensor([0, 0, 0, 3, 7, 255])[(noise(1, 6)[:, 0] * 5.99).long()]
    return (boundary.clamp(.01, .99).to(device).requires_grad_(), noise(2, 8).sub(.5).mul(10).to(device)
            .requires_grad_(), labels.to(device))


def step(losses: Losses, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """The total and both gradients."""
    total = torch.stack(list(losses(*inputs).values())).sum() / 2
    return total.detach(), *torch.autograd.grad(total, inputs[:2])


def peak(losses: Losses, inputs: tuple[Tensor, Tensor, Tensor]) -> int:
    """Peak bytes of a step beyond its inputs: on the GPU as allocated; on the CPU from the profiler's record."""
    if inputs[0].is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(losses, inputs)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as record:
        step(losses, inputs)
    level = highest = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == '[memory]':
            level += event.nbytes()
            highest = max(highest, level)
    return highest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cuda = args.device == 'cuda'
    cases = ((2, 64, 5), (2, 64, 10), (2, 128, 10), *([(32, 128, 10)] if cuda else []))
    print(f'Losses and gradients, {args.device}, one thread, median of {args.repeats} alternating runs.\n')
    print('| images | map | radius | indexed, ms | ours, ms | ratio | indexed: tables, MB | peak of a step, MB '
          '| ours: peak, MB | ratio | difference of the loss | of gradients |')
    print('|---|---|---|---|---|---|---|---|---|---|---|---|')
    for count, size, radius in cases:
        inputs = example(count, size, args.device)
        indexed = Indexed(size, size, radius, args.device)

        def ours(boundary: Tensor, displacement: Tensor, labels: Tensor, radius: int = radius) -> dict[str, Tensor]:
            return irn_losses(boundary, displacement, labels, radius, num_classes=20)
        ways: tuple[Losses, ...] = (indexed, ours)
        found = [step(way, inputs) for way in ways]   # warm up, and compare
        times: list[list[float]] = [[], []]
        for _ in range(args.repeats):
            for way, taken in zip(ways, times, strict=True):
                if cuda:
                    torch.cuda.synchronize()
                start = time.perf_counter() if cuda else time.process_time()
                step(way, inputs)
                if cuda:
                    torch.cuda.synchronize()
                taken.append((time.perf_counter() if cuda else time.process_time()) - start)
        slow, fast = (1e3 * statistics.median(taken) for taken in times)
        much, little = (peak(way, inputs) / 1e6 for way in ways)
        loss, *grads = ((a - b).abs().max().item() / b.abs().max().item() for a, b in zip(*found, strict=True))
        print(f'| {count} | {size} x {size} | {radius} | {slow:.0f} | {fast:.0f} | {slow / fast:.1f} '
              f'| {indexed.tensors() / 1e6:.0f} | {much:.0f} | {little:.0f} | {much / little:.0f} | {loss:.0e} '
              f'| {max(grads):.0e} |')
    print('\nDifferences are relative to the largest value.')


if __name__ == '__main__':
    main()
