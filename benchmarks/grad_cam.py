"""Grad-CAM of several classes: one batched backward against one backward per image and class.

``python benchmarks/grad_cam.py`` prints a Markdown table; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from wsss_mm.localization import GradCAM
from wsss_mm.registry import MODELS

IMAGES, SIZE = 2, (192, 256)


def classifier(device: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(Config(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='ResNet', depth=18, strides=(1, 2, 2, 1)),
        head=dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=512))))
    return model.to(device).eval()


def plain(model: nn.Module, inputs: Tensor, tags: Tensor, layer: str) -> Tensor:
    """As it is commonly written: hooks on a layer, and per image and class a forward and ``backward()``."""
    kept: list[Tensor] = []
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda _, __, out: kept.append(out))
    maps = []
    for image, label in tags.nonzero().tolist():
        model.zero_grad()
        kept.clear()
        score = model(inputs[image:image + 1])[0, label]
        kept[0].retain_grad()
        score.backward()
        maps.append(torch.einsum('d,dhw->hw', kept[0].grad[0].sum((1, 2)), kept[0][0].detach()))
    handle.remove()
    return torch.stack(maps)


def frugal(model: nn.Module, inputs: Tensor, tags: Tensor, layer: str) -> Tensor:
    """One forward, then per image and class the gradient of the layer alone."""
    kept: list[Tensor] = []
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda _, __, out: kept.append(out))
    logits = model(inputs)
    handle.remove()
    maps = []
    for image, label in tags.nonzero().tolist():
        gradient, = torch.autograd.grad(logits[image, label], kept[0], retain_graph=True)
        maps.append(torch.einsum('d,dhw->hw', gradient[image].sum((1, 2)), kept[0][image].detach()))
    return torch.stack(maps)


def ours(model: nn.Module, inputs: Tensor, tags: Tensor, layer: str) -> Tensor:
    return GradCAM(layer).maps(model, inputs, tags)


def timed(function, *arguments, device: str) -> tuple[Tensor, float]:
    # On the CPU the thread's own time, which other work on the machine disturbs least.
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if device == 'cuda' else (int, time.process_time)
    wait()
    start = clock()
    found = function(*arguments)
    wait()
    return found, clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    model = classifier(args.device)
    inputs = torch.randn(IMAGES, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(args.device)
    print(f'ResNet-18, {IMAGES} images of {SIZE[0]} x {SIZE[1]}, {args.device}, one thread, median of {args.repeats} '
          'alternating runs.\n')
    print('| layer | classes per image | a forward and backward each, ms | one forward, a gradient each, ms | ours, ms '
          '| ratio to the first | to the second | max. difference, relative |')
    print('|---|---|---|---|---|---|---|---|')
    for layer in ('backbone.layer4', 'backbone.layer3', 'backbone.layer2'):
        for classes in (1, 2, 4):
            tags = torch.zeros(IMAGES, 20, dtype=torch.bool, device=args.device)
            for i in range(IMAGES):
                tags[i, i:i + classes] = True
            ways = (plain, frugal, ours)
            found = {way: timed(way, model, inputs, tags, layer, device=args.device)[0] for way in ways}  # warm up
            times: dict = {way: [] for way in ways}
            for _ in range(args.repeats):
                for way in ways:
                    times[way].append(timed(way, model, inputs, tags, layer, device=args.device)[1])
            slow, middle, fast = (1e3 * statistics.median(times[way]) for way in ways)
            off = (found[ours] - found[plain]).abs().max() / found[plain].abs().max()
            print(f'| {layer} | {classes} | {slow:.0f} | {middle:.0f} | {fast:.0f} | {slow / fast:.2f} '
                  f'| {middle / fast:.2f} | {off:.1e} |')


if __name__ == '__main__':
    main()
