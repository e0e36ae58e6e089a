"""AdvCAM: all pairs at once with one backward of the inputs a step, against the published scheme.

``python benchmarks/adv_cam.py`` prints two Markdown tables, of counted work and of time; add ``--device cuda`` where
there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wsss_mm.localization import AdvCAM, MultiScale, Views
from wsss_mm.registry import MODELS

STEPS = 27
CLASSES = [3, 14, 8, 11]
SCALES = (1., .5)


def classifier(device: str, channels: int, **backbone) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(Config(dict(
        type='wsss_mm.CAMClassifier', backbone=backbone,
        head=dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=channels),
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53],
                               std=[58.395, 57.12, 57.375], bgr_to_rgb=True))))
    torch.nn.init.normal_(model.head.classifier.weight, .5)      # every class scores somewhere
    return model.to(device).eval()


def climb(model: nn.Module, pair: Tensor, label: int, steps: int) -> Tensor:
    """The published scheme for an image, its mirror image and one class: gradients of the parameters too, twice."""
    total: Tensor | float = 0.
    first = None
    for _ in range(steps):
        pair = pair.detach().requires_grad_()
        features = model.head.select(model.extract_feat(pair))
        features.retain_grad()
        scores = model.head.project(features).relu()
        scores[:, label].sum().backward(retain_graph=True)
        weights = features.grad.sum((2, 3)) / ((features.grad > 0).sum() + 1e-12)
        maps = torch.einsum('bd,bdhw->bhw', weights.detach(), features).relu()
        merged = maps[0] + maps[1].flip(1)
        first = merged.detach() if first is None else first
        total = total + merged.detach()
        mask = merged / merged.max() > .5
        means = scores.mean((2, 3)).sum(0)
        objective = 2 * means[label] - means.sum() - 7 * (mask * (merged - first).abs()).sum()
        pair.grad = None
        objective.backward()
        step = pair.grad
        pair = torch.clamp(pair + .08 * step / (step.abs().max() + 1e-12), pair.min().item(), pair.max().item())
        model.zero_grad()
    return total  # type: ignore[return-value]


def published(model: nn.Module, images: list[np.ndarray], tags: Tensor) -> list[Tensor]:
    """Image by image, scale by scale, class by class."""
    results = []
    for image, present in zip(images, tags, strict=True):
        height, width = image.shape[:2]
        target = (-(-height // 16) * 16, -(-width // 16) * 16)
        total: Tensor | float = 0.
        for scale in SCALES:
            size = (round(width * scale), round(height * scale))
            resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
            bgr = torch.from_numpy(resized[..., ::-1].transpose(2, 0, 1).copy())
            inputs = model.data_preprocessor(dict(inputs=[bgr], data_samples=None), False)['inputs']
            pair, steps = torch.cat([inputs, inputs.flip(3)]), STEPS // 2 if scale == .5 else STEPS
            maps = torch.stack([climb(model, pair, c, steps) for c in present.nonzero().flatten().tolist()])
            total = total + F.interpolate(maps[:, None], target, mode='bilinear', align_corners=False)[:, 0]
        chosen = total[:, :height, :width]
        results.append((chosen / (chosen.amax((1, 2), keepdim=True) + 1e-5)).cpu())
    return results


def ours(model: nn.Module, images: list[np.ndarray], tags: Tensor) -> list[Tensor]:
    return [torch.from_numpy(m.maps) for m in MultiScale(AdvCAM(STEPS), SCALES).class_maps(model, images, tags)]


def tags_of(images: int, classes: int) -> Tensor:
    tags = torch.zeros(images, 20, dtype=torch.bool)
    tags[:, CLASSES[:classes]] = True
    return tags


def count_work(device: str) -> None:
    """Counted multiplications and additions; shares of them do not depend on the size."""
    model = classifier(device, 2048, type='wsss_mm.ResNetCAM', depth=50, frozen_stages=0)
    image = torch.randn(1, 3, 32, 48, device=device)
    pair = torch.cat([image, image.flip(3)])
    print(f'Counted by `FlopCounterMode`: ResNet-50, stem frozen as published, an image of 32 x 48 and its mirror, '
          f'{STEPS} maps, GFLOP per image-class.\n')
    print('| classes of the image | one forward | published | ours | share | published, in forwards | ours |')
    print('|---|---|---|---|---|---|---|')
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.class_maps(pair)
    forward = counter.get_total_flops() / 1e9
    with FlopCounterMode(display=False) as counter:
        climb(model, pair, CLASSES[0], STEPS)
    theirs = counter.get_total_flops() / 1e9
    for classes in (1, 2):
        tags = tags_of(2, classes).to(device)
        with FlopCounterMode(display=False) as counter:
            AdvCAM(STEPS).maps(model, pair, tags, Views(('a',), 1., True))
        work = counter.get_total_flops() / 1e9 / classes
        print(f'| {classes} | {forward:.2f} | {theirs:.1f} | {work:.1f} | {work / theirs:.1%} | {theirs / forward:.1f} '
              f'| {work / forward:.1f} |')


def measure_time(device: str, repeats: int) -> None:
    model = classifier(device, 128, type='ResNet', depth=18, base_channels=16, stem_channels=16, strides=(1, 2, 2, 1))
    rng = np.random.default_rng(0)
    # On the CPU the thread's own time, which other work on the machine disturbs least.
    clock = time.perf_counter if device == 'cuda' else time.process_time
    print(f'\nResNet-18 of a quarter of the width, scales {SCALES} with {STEPS} and {STEPS // 2} maps, mirrored, '
          f'{device}, one thread, median of {repeats} alternating runs, per image-class.\n')
    print('| images | classes of each | size | published, ms | ours, ms | ratio | max. difference of maps, 0 to 1 |')
    print('|---|---|---|---|---|---|---|')
    for count, classes, size in ((1, 1, 64), (1, 2, 64), (4, 2, 64), (1, 2, 128)):
        images = list(rng.integers(0, 255, (count, size, size, 3), np.uint8))
        tags = tags_of(count, classes).to(device)
        ways = (published, ours)
        found = {way: way(model, images, tags) for way in ways}   # warm up, and compare
        times: dict = {way: [] for way in ways}
        for _ in range(repeats):
            for way in ways:
                start = clock()
                way(model, images, tags)
                times[way].append(clock() - start)
        slow, fast = (1e3 * statistics.median(times[way]) / count / classes for way in ways)
        off = max((a - b).abs().max().item() for a, b in zip(found[published], found[ours], strict=True))
        print(f'| {count} | {classes} | {size} x {size} | {slow:.0f} | {fast:.0f} | {slow / fast:.2f} | {off:.1e} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    count_work(args.device)
    measure_time(args.device, args.repeats)


if __name__ == '__main__':
    main()
