"""RIB of one image against the published scheme, and the parts that are not the network.

``python benchmarks/rib_step.py`` prints two Markdown tables; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor, nn

from wsss_mm.localization import CAM, RIB, MultiScale
from wsss_mm.localization.auxiliary_images import AuxiliaryImages
from wsss_mm.localization.rib import gndrp
from wsss_mm.registry import MODELS

STEPS, RATE = 10, 2e-5
SCALES, TARGETS = (1., .5, 1.5, 2.), (1., 1.5, 2.)
TRAINED = ('backbone.layer3', 'backbone.layer4', 'head')


def classifier(device: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(Config(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ResNetCAM', depth=18, base_channels=32,
                                                    stem_channels=32),
        head=dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=256),
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53],
                               std=[58.395, 57.12, 57.375], bgr_to_rgb=True))))
    nn.init.normal_(model.head.classifier.weight, std=.2)
    return model.to(device).eval()


def loop_gndrp(maps: Tensor, tags: Tensor) -> Tensor:
    """Row by row and class by class; every maximum is waited for."""
    rows = []
    for row, present in zip(maps, tags, strict=True):
        rows.append(torch.stack([
            (m * (m.detach() / m.max().item() < .4)).sum() / m.numel() if t.item() else m.mean()
            for m, t in zip(row, present, strict=True)]))
    return torch.stack(rows)


def published(model: nn.Module, weights: dict[str, Tensor], image: np.ndarray, tags: Tensor,
              batches: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Weights reloaded, all stages run at every step, ten updates for ten maps."""
    model.load_state_dict(weights)
    groups = [[p for n, p in model.named_parameters() if n.startswith(part)] for part in TRAINED]
    rates = [RATE, RATE, 10 * RATE]
    optimizer = torch.optim.SGD([dict(params=g, lr=r) for g, r in zip(groups, rates, strict=True)], lr=RATE,
                                momentum=1e-4, weight_decay=1e-4)
    for parameter in model.parameters():
        parameter.requires_grad_(any(parameter is p for group in groups for p in group))
    device = batches[0][0].device
    total: dict[float, Tensor | float] = dict.fromkeys(SCALES, 0.)
    for step in range(STEPS):
        rows, labels = [], []
        for scale in SCALES:
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
            bgr = torch.from_numpy(resized[..., ::-1].transpose(2, 0, 1).copy())
            inputs = model.data_preprocessor(dict(inputs=[bgr], data_samples=None), False)['inputs']
            maps = model.class_maps(torch.cat([inputs, inputs.flip(3)]))
            found = maps.detach().relu()
            total[scale] = total[scale] + found[0] + found[1].flip(2)
            if scale in TARGETS:
                labels.append(tags.float().to(device).repeat(2, 1))
                rows.append(loop_gndrp(maps, labels[-1]))
        inputs, others = batches[step]
        rows.append(loop_gndrp(model.class_maps(inputs), others))
        loss = -(torch.cat(rows) * torch.cat([*labels, others])).sum()
        optimizer.zero_grad()
        loss.backward()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group['lr'] = rate * (1 - step / STEPS) ** .9
        optimizer.step()
    return [total[scale][tags].cpu() for scale in SCALES]  # type: ignore[index]


class Given:
    """The same other images for both ways."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.given = batches

    def batches(self, model: nn.Module, image_id: str, tags: Tensor, batches: int):
        return iter(self.given[:batches] if len(self.given[0][0]) else [])


def ours(model: nn.Module, image: np.ndarray, tags: Tensor, batches: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    rib = RIB(MultiScale(CAM(), SCALES), lr=RATE, stop_logit=None, stop_area=None)
    rib.others = Given(batches)  # type: ignore[assignment]
    return [maps[:, 0] + maps[:, 1].flip(2) for maps in rib.raw_maps(model, [image], tags[None])[0]]


def python_pool(labels: list[list[bool]], own: list[bool]) -> list[int]:
    """All labels in Python, twice: who shares a class, and who does not."""
    shared = [i for i, label in enumerate(labels) if any(a and b for a, b in zip(label, own, strict=True))]
    apart = [i for i, label in enumerate(labels) if not any(a and b for a, b in zip(label, own, strict=True))]
    assert len(shared) + len(apart) == len(labels)
    return apart


def alternating(ways: dict[str, Callable], repeats: int, clock: Callable[[], float]) -> list[float]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = clock()
            way()
            times[name].append(clock() - start)
    return [statistics.median(found) for found in times.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    # On the CPU the thread's own time, which other work on the machine disturbs least.
    clock = time.perf_counter if args.device == 'cuda' else time.process_time
    model, moved = classifier(args.device), classifier(args.device)
    weights = copy.deepcopy(model.state_dict())
    generator = torch.Generator().manual_seed(0)
    image = np.random.default_rng(0).integers(0, 255, (94, 125, 3), np.uint8)
    tags = torch.arange(20) == 3
    print(f'ResNet-18 of half width, an image of 94 x 125 with one class, {STEPS} steps, scales {SCALES}, other images '
          f'of 128 x 128, {args.device}, one thread, median of {args.repeats} alternating runs. Differences are shares '
          'of the maximum.\n')
    print('| other images a step | as published, s | ours, s | ratio | max. difference |')
    print('|---|---|---|---|---|')
    for count in (4, 20):
        batches = [(torch.randn(count, 3, 128, 128, generator=generator).to(args.device),
                    F.one_hot(torch.arange(count) % 16 + 4, 20).float().to(args.device)) for _ in range(STEPS)]
        ways = dict(published=lambda b=batches: published(moved, weights, image, tags, b),
                    ours=lambda b=batches: ours(model, image, tags, b))
        found = [way() for way in ways.values()]
        slow, fast = alternating(ways, args.repeats, clock)
        off = max(((a - b).abs().max() / a.max()).item() for a, b in zip(*found, strict=True))
        print(f'| {count} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} | {off:.0e} |')

    print('\n| part | as published, ms | ours, ms | ratio | max. difference |')
    print('|---|---|---|---|---|')
    maps = torch.randn(26, 20, 32, 32, generator=generator).to(args.device).requires_grad_()
    rows = (torch.rand(26, 20, generator=generator) < .1).to(args.device)

    def gradient(pooling: Callable) -> Tensor:
        return torch.autograd.grad(pooling(maps, rows)[rows].sum(), maps)[0]

    slow, fast = alternating(dict(a=lambda: gradient(loop_gndrp), b=lambda: gradient(gndrp)), 5, clock)
    worst = (gradient(loop_gndrp) - gradient(gndrp)).abs().max() / gradient(gndrp).max()
    print(f'| GNDRP and its gradient, 26 x 20 maps of 32 x 32 | {1e3 * slow:.1f} | {1e3 * fast:.1f} '
          f'| {slow / fast:.1f} | {worst.item():.0e} |')
    others = AuxiliaryImages({}, 20)
    others._dataset = 'given'
    others._tags = np.random.default_rng(0).random((10582, 20)) < .075
    others._ids = np.array([str(i) for i in range(10582)])
    listed, own = others._tags.tolist(), tags.tolist()
    slow, fast = alternating(dict(a=lambda: python_pool(listed, own), b=lambda: others.draw('x', tags, 9)), 5, clock)
    everyone = AuxiliaryImages({}, 10582)
    everyone.__dict__.update(_dataset='given', _tags=others._tags, _ids=others._ids)
    wrong = set(python_pool(listed, own)) ^ set(everyone.draw('x', tags, 1)[0].tolist())
    print(f'| the images that share no class, of 10,582, and their draw | {1e3 * slow:.1f} | {1e3 * fast:.1f} '
          f'| {slow / fast:.1f} | {len(wrong)} images |')


if __name__ == '__main__':
    main()
