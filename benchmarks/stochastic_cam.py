"""FickleNet: the expanded map of the paper, and one window after another, against the form without either.

``python benchmarks/stochastic_cam.py`` prints a Markdown table; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.localization.stochastic_cam import MaskWords, stochastic_grad_cam
from wsss_mm.models.heads import StochasticHead
from wsss_mm.models.heads.stochastic_head import masked_logits, seen_by_taps

CLASSES, PRESENT, DROP_PROB = 20, (3, 14), .9


def expand(feature_map: Tensor, size: int) -> Tensor:
    """The windows of the padded map ``(N, D, h, w)`` side by side, ``(N, D, s·h, s·w)``."""
    windows = F.pad(feature_map, [size // 2] * 4).unfold(2, size, 1).unfold(3, size, 1)
    return windows.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def by_window(kept: Tensor, size: int) -> Tensor:
    """Masks by position ``(M, h, w, s²)`` -> of the expanded map ``(M, s·h, s·w)``."""
    count, h, w, _ = kept.shape
    padded = F.pad(kept.permute(0, 3, 1, 2), [size // 2] * 4)
    taps = [padded[:, tap, tap // size:][:, :h, tap % size:][:, :, :w] for tap in range(size ** 2)]
    return torch.stack(taps, 3).view(count, h, w, size, size).transpose(2, 3).reshape(count, size * h, size * w)


def expanded_logits(head: StochasticHead, feature_map: Tensor, windows: Tensor) -> Tensor:
    masked = expand(feature_map, head.kernel_size) * windows[:, None]
    return F.conv2d(masked, head.classifier.weight, head.classifier.bias, stride=head.kernel_size).mean((2, 3))


def window_logits(head: StochasticHead, feature_map: Tensor, windows: Tensor) -> Tensor:
    """A dropout and a convolution for every window."""
    size, (h, w) = head.kernel_size, feature_map.shape[2:]
    padded, total = F.pad(feature_map, [size // 2] * 4), 0.
    for y in range(h):
        for x in range(w):
            mask = windows[:, None, y * size:(y + 1) * size, x * size:(x + 1) * size]
            window = padded[:, :, y:y + size, x:x + size] * mask
            total = total + F.conv2d(window, head.classifier.weight, head.classifier.bias).flatten(1)
    return total / (h * w)


def tap_logits(head: StochasticHead, feature_map: Tensor, masks: Tensor) -> Tensor:
    """What every tap gives every class, by one 1x1 convolution, then the sum under the mask."""
    kernel = head.classifier.weight.permute(0, 2, 3, 1).flatten(0, 2)
    taps = F.conv2d(feature_map, kernel[:, :, None, None]).unflatten(1, (CLASSES, -1))
    return (taps * masks.permute(0, 3, 1, 2)[:, None]).sum((2, 3, 4)) / masks[0, :, :, 0].numel() + head.classifier.bias


def our_logits(head: StochasticHead, feature_map: Tensor, masks: Tensor) -> Tensor:
    return masked_logits(feature_map, masks, head.classifier.weight, head.classifier.bias)


def training_step(logits: Callable, head: StochasticHead, feature_map: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
    """Logits, and the gradients of the features and of the kernel."""
    x = feature_map.clone().requires_grad_()
    found = logits(head, x, masks)
    loss = F.multilabel_soft_margin_loss(found, torch.ones_like(found))
    return found.detach(), *torch.autograd.grad(loss, [x, head.classifier.weight])


def expanded_maps(head: StochasticHead, feature_map: Tensor, windows: Tensor) -> Tensor:
    """As published: for every mask the expansion and a convolution, for every class a backward."""
    found = []
    for mask in windows:
        x = feature_map.clone().requires_grad_()
        logits = expanded_logits(head, x, mask[None])[0, list(PRESENT)]
        gradients = [torch.autograd.grad(logit, x, retain_graph=True)[0] for logit in logits]
        found.append(torch.stack([(feature_map * g).sum(1)[0].relu() for g in gradients]))
    maps = torch.stack(found, 1)
    return maps / maps.amax((2, 3), keepdim=True)


@torch.no_grad()
def our_maps(head: StochasticHead, feature_map: Tensor, passes: int, together: int = 8) -> Tensor:
    """With the drawing of the masks, which the other is given."""
    size, shape = head.kernel_size, feature_map.shape[2:]
    taps, words = head.tap_maps(feature_map[0], torch.tensor(PRESENT, device=feature_map.device)), MaskWords(0, 'a')
    parts = [stochastic_grad_cam(taps, words.kept(min(together, passes - i), *shape, size ** 2, DROP_PROB
                                                  ).to(feature_map.device)) for i in range(0, passes, together)]
    return torch.cat(parts, 1)


def kept_bytes(step: Callable) -> int:
    """What a step keeps for its backward, each storage once."""
    storages = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(count for count, _ in storages.values())


def median_time(call: Callable, args: argparse.Namespace) -> float:
    """Of a few runs, fewer where they take more than 5 s."""
    cuda = args.device == 'cuda'
    # On the CPU the process's own time, which other work on the machine disturbs least.
    clock, wait = (time.perf_counter, torch.cuda.synchronize) if cuda else (time.process_time, lambda: None)
    times: list[float] = []
    while len(times) < args.repeats and sum(times) < 5:
        wait()
        start = clock()
        call()
        wait()
        times.append(clock() - start)
    return statistics.median(times)


def difference(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> float:
    """Largest, relative to the largest value of each tensor."""
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(first, second, strict=True))


def compare_training(name: str, head: StochasticHead, feature_map: Tensor, args: argparse.Namespace) -> None:
    masks = head.sample_masks(feature_map)
    windows = by_window(masks, head.kernel_size)
    ours, base = training_step(our_logits, head, feature_map, masks), 0.
    for form, logits, given in (('ours', our_logits, masks), ('1x1 convolution for all taps', tap_logits, masks),
                                ('expanded map', expanded_logits, windows),
                                ('window by window', window_logits, windows)):
        step = functools.partial(training_step, logits, head, feature_map, given)
        kept, off = kept_bytes(step) / 1e6, difference(step(), ours)
        seconds = median_time(step, args)
        base = base or seconds
        print(f'| {name} | training step | {form} | {1e3 * seconds:.1f} | {seconds / base:.1f} | {kept:.1f} '
              f'| {off:.0e} |', flush=True)


def compare_maps(name: str, head: StochasticHead, feature_map: Tensor, args: argparse.Namespace) -> None:
    size, shape = head.kernel_size, feature_map.shape[2:]
    kept = MaskWords(0, 'a').kept(2, *shape, size ** 2, DROP_PROB).to(args.device)
    windows = by_window(kept & seen_by_taps(size, shape, args.device), size).float()
    off = (our_maps(head, feature_map, 2) - expanded_maps(head, feature_map, windows)).abs().max().item()
    slow = median_time(functools.partial(expanded_maps, head, feature_map, windows), args) / 2
    for passes in (1, 200):
        fast = median_time(functools.partial(our_maps, head, feature_map, passes), args)
        what = f'{name} | maps, {passes} pass{"" if passes == 1 else "es"}'
        print(f'| {what} | ours | {1e3 * fast:.1f} | 1.0 | | |')
        print(f'| {what} | expanded map{"" if passes == 1 else ", reckoned from 2 passes"} | {1e3 * slow * passes:.0f} '
              f'| {slow * passes / fast:.0f} | | {off:.0e} |', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    print(f'{CLASSES} classes of which the image has {len(PRESENT)}, p = {DROP_PROB}, {args.device}, one thread, '
          f'median of {args.repeats} runs. A training step is forward and backward of the head alone on one image, '
          'with masks that are there; the time of our maps includes drawing the masks, that of the others does not.\n')
    print('| map | s | what | form | ms | times ours | kept for backward, MB | max. difference |')
    print('|---|---|---|---|---|---|---|---|')
    for channels, side, size in ((128, 21, 5), (512, 41, 9)):
        torch.manual_seed(0)
        head = StochasticHead(CLASSES, channels, kernel_size=size, drop_prob=DROP_PROB).to(args.device)
        torch.nn.init.normal_(head.classifier.weight, std=.01)
        feature_map = torch.rand(1, channels, side, side, device=args.device)
        name = f'{channels} x {side} x {side} | {size}'
        compare_training(name, head, feature_map, args)
        compare_maps(name, head, feature_map, args)


if __name__ == '__main__':
    main()
