"""AEFT's extra work in a training step, and the words of visual words: ours against the plain formulations.

``python benchmarks/aeft_step.py`` prints Markdown tables; add ``--device cuda`` where there is one. The networks' own
passes are not in it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.models.objectives.triplet import (
    attract_loss,
    embed,
    erasing_mask,
    low_confidence,
    repel_loss,
    sample_negatives,
    scale_by_peak,
)
from wsss_mm.models.objectives.visual_words import present_words

BATCH, CLASSES, SIDE, IMAGE, WORDS = 32, 20, 40, 320, 256


def loop_sampler(tags: Tensor) -> tuple[Tensor, Tensor]:
    """Every pair read from the device, then a draw among those without a common class."""
    index, valid = [], []
    for i in range(len(tags)):
        allowed = [j for j in range(len(tags)) if (tags[i] * tags[j]).sum().item() == 0]
        index.append(allowed[int(torch.randint(len(allowed), ()))] if allowed else 0)
        valid.append(bool(allowed))
    return torch.tensor(index, device=tags.device), torch.tensor(valid, device=tags.device)


def stretch(x: Tensor) -> Tensor:
    return F.relu(x - x.min() - 1e-5) / (x.max() - x.min() + 1e-5)


def loop_mask(maps: Tensor, tags: Tensor) -> Tensor:
    """One image and one class after the other."""
    masks = []
    for n in range(len(tags)):
        foreground = maps.new_zeros(IMAGE, IMAGE)
        for c in range(tags.shape[1]):
            if tags[n, c].item():
                up = F.interpolate(F.relu(maps[n, c])[None, None], size=(IMAGE, IMAGE), mode='bilinear')[0, 0]
                foreground = torch.maximum(foreground, stretch(up))
        masks.append(torch.where(foreground < .6, foreground, 0))
    return torch.stack(masks)[:, None]


def dense_mask(maps: Tensor, tags: Tensor) -> Tensor:
    """All classes up-sampled and then multiplied by the tags, as in the published code."""
    up = F.interpolate(F.relu(maps), size=(IMAGE, IMAGE), mode='bilinear')
    low, high = up.amin((2, 3), keepdim=True), up.amax((2, 3), keepdim=True)
    foreground = (F.relu(up - low - 1e-5) / (high - low + 1e-5) * tags[:, :, None, None]).amax(1, keepdim=True)
    return torch.where(foreground < .6, foreground, 0)


def our_mask(maps: Tensor, tags: Tensor) -> Tensor:
    return erasing_mask(maps, tags, (IMAGE, IMAGE))


def loop_losses(pooled: Tensor, maps: Tensor, erased: Tensor, tags: Tensor, index: Tensor) -> Tensor:
    """One image and one class after the other; the rows of one pair after the other."""
    anchor, positive, unsure, whole = (maps.new_zeros(maps.shape[:2]) for _ in range(4))
    for n in range(len(tags)):
        for c in range(tags.shape[1]):
            if not tags[n, c].item():
                continue
            anchor[n, c], positive[n, c] = F.relu(pooled[n, c]).mean(), F.relu(erased[n, c]).mean()
            peak = pooled[n, c] / (pooled[n, c].abs().max() + 1e-5)
            low = stretch(F.relu(maps[n, c])) < .2
            unsure[n, c], whole[n, c] = peak[low].mean(), peak.mean()
    distance = torch.stack([(unsure[n] - whole[index[n]]).square().sum() for n in range(len(tags))])
    hard = distance[distance < .5]
    return .2 * (anchor - positive).abs().mean() + (.15 * (.5 - hard).mean() if len(hard) > 4 else 0)


def our_losses(pooled: Tensor, maps: Tensor, erased: Tensor, tags: Tensor, index: Tensor) -> Tensor:
    attracted = attract_loss(embed(F.relu(pooled), tags=tags), embed(F.relu(erased), tags=tags))
    peak = scale_by_peak(pooled)
    repelled, _ = repel_loss(embed(peak, low_confidence(maps, tags), tags), embed(peak, tags=tags)[index],
                             torch.ones_like(index, dtype=torch.bool))
    return .2 * attracted + .15 * repelled


def one_hot_words(similarity: Tensor) -> Tensor:
    return F.one_hot(similarity.argmax(1), similarity.shape[1]).amax((1, 2)).float()


def scatter_words(similarity: Tensor) -> Tensor:
    return present_words(similarity)


def run(function: Callable, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None, float]:
    """Value, gradient to the first input where there is one, and seconds."""
    first = inputs[0]
    differentiable = function not in (one_hot_words, scatter_words, loop_sampler, sample_negatives)
    if differentiable:
        first = first.detach().requires_grad_()
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if first.is_cuda else (int, time.process_time)
    wait()
    start = clock()
    value = function(first, *inputs[1:])
    gradient = None
    if differentiable:
        (gradient,) = torch.autograd.grad(value.sum(), first)
    wait()
    return value, gradient, clock() - start


def row(name: str, plain: Callable, ours: Callable, inputs: tuple[Tensor, ...], repeats: int) -> str:
    expected, found = run(plain, inputs), run(ours, inputs)  # warm up, and compare
    times: dict[Callable, list[float]] = {plain: [], ours: []}
    for _ in range(repeats):
        for function in times:
            times[function].append(run(function, inputs)[2])
    slow, fast = (1e3 * statistics.median(times[function]) for function in (plain, ours))
    if ours is sample_negatives:
        tags, (index, valid) = inputs[0], found[0]
        wrong = int(((tags * tags[index]).sum(1) * valid).gt(0).sum() + (valid != expected[0][1]).sum())
        difference = f'{wrong} wrong pairs | –'
    else:
        difference = f'{(found[0] - expected[0]).abs().max().item():.1e} | '
        difference += '–' if found[1] is None else (
            f'{((found[1] - expected[1]).abs().max() / expected[1].abs().max()).item():.1e}')
    return f'| {name} | {slow:.2f} | {fast:.2f} | {slow / fast:.1f} | {difference} |'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # One class in every image and each further one with probability .025: 1.5 per image, as on VOC.
    tags = (F.one_hot(torch.randint(CLASSES, (BATCH,)), CLASSES) + (torch.rand(BATCH, CLASSES) < .025)).clamp_max(1)
    tags = tags.float().to(args.device)
    coarse = torch.randn(3, BATCH, CLASSES, 6, 6, device=args.device)
    # Without repeated border pixels: where an extremum is taken twice, its gradient is a matter of choice.
    maps, pooled, erased = (F.interpolate(x, size=(SIDE, SIDE), mode='bilinear', align_corners=True) for x in coarse)
    index, _ = sample_negatives(tags)
    similarity = torch.randn(16, WORDS, 32, 32, device=args.device)

    print(f'{BATCH} images of {IMAGE} x {IMAGE}, {CLASSES} classes, {tags.sum(1).mean().item():.2f} per image, maps of '
          f'{SIDE} x {SIDE}; {WORDS} words at 16 x 32 x 32; {args.device}, one thread, median of {args.repeats} '
          'alternating runs, forward and backward where there is one.\n')
    print('| | plain, ms | ours, ms | ratio | max. difference of the value | of the gradient, relative |')
    print('|---|---|---|---|---|---|')
    for line in (
            ('negatives: every pair read', loop_sampler, sample_negatives, (tags,)),
            ('mask: loop over images and classes', loop_mask, our_mask, (maps, tags)),
            ('mask: all classes up-sampled (a quarter of the batch)', dense_mask, our_mask, (maps[:8], tags[:8])),
            ('losses: loop over images and classes', loop_losses, our_losses, (pooled, maps, erased, tags, index)),
            ('words present: one-hot', one_hot_words, scatter_words, (similarity,))):
        print(row(*line, args.repeats))


if __name__ == '__main__':
    main()
