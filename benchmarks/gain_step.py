"""A training step of GAIN: ours (all pairs of image and class in one masked forward) against one pair after another.

``python benchmarks/gain_step.py`` prints a Markdown table; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from wsss_mm.models.heads import BasePoolingHead
from wsss_mm.registry import MODELS

BATCH, CLASSES, SIZE = 8, 20, 128
OBJECTIVE = dict(type='wsss_mm.AttentionMining')


@MODELS.register_module()
class SmallVGG(nn.Module):
    """Eight convolutions in VGG16's order, a quarter of its width, stride 8."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for i, channels in enumerate((16, 16, 32, 32, 64, 64, 128, 128)):
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
            if i in (1, 3, 5):
                layers.append(nn.MaxPool2d(2))
            width = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.layers(x),)


@MODELS.register_module()
class HiddenLayers(BasePoolingHead):
    """Fully connected layers after pooling, as VGG16's."""

    def __init__(self) -> None:
        super().__init__(CLASSES, 128)
        self.layers = nn.Sequential(nn.AdaptiveMaxPool2d(7), nn.Flatten(), nn.Linear(128 * 49, 256), nn.ReLU(),
                                    nn.Linear(256, CLASSES))

    def logits(self, feature_map: Tensor) -> Tensor:
        return self.layers(feature_map)


NETWORKS = {
    'VGG16-like, fully connected head': dict(backbone=dict(type='wsss_mm.SmallVGG'),
                                             head=dict(type='wsss_mm.HiddenLayers')),
    'ResNet-18, GAP': dict(
        backbone=dict(type='mmseg.ResNet', depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), out_indices=(3,)),
        head=dict(type='wsss_mm.GAPHead', num_classes=CLASSES, in_channels=512)),
}


def plain(model: nn.Module, images: Tensor, samples: list[SegDataSample]) -> Tensor:
    """Image by image and class by class, with a graph of Grad-CAM's backward (Eq. 1-6 as they are written)."""
    total = images.new_zeros(())
    for image, sample in zip(images.split(1), samples, strict=True):
        feature_map = model.extract_feat(image)[0]
        logits = model.head.logits(feature_map)
        total = total + F.multilabel_soft_margin_loss(logits, sample.gt_label[None]) / len(images)
        present = sample.gt_label.nonzero()[:, 0].tolist()
        for label in present:
            (gradient,) = torch.autograd.grad(logits[0, label], feature_map, create_graph=True)
            attention = (gradient.mean((2, 3), keepdim=True) * feature_map).sum(1, keepdim=True).relu()
            attention = F.interpolate(attention, image.shape[2:], mode='bilinear', align_corners=False)
            low, high = attention.min(), attention.max()
            mask = torch.sigmoid(10 * ((attention - low) / (high - low + 1e-12) - .5))
            score = model(image * (1 - mask))[0, label].sigmoid()
            total = total + score / len(present) / len(images)
    return total


def ours(model: nn.Module, images: Tensor, samples: list[SegDataSample]) -> Tensor:
    return model.parse_losses(model(images, samples, mode='loss'))[0]


def run(step, model: nn.Module, images: Tensor, samples: list[SegDataSample]) -> tuple[Tensor, float]:
    """The backbone's gradient, flat, and the seconds of one forward and backward."""
    model.zero_grad()
    # On the CPU the thread's own time, which other work on the machine disturbs least.
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if images.is_cuda else (int, time.process_time)
    wait()
    start = clock()
    step(model, images, samples).backward()
    wait()
    seconds = clock() - start
    return torch.cat([p.grad.flatten() for p in model.backbone.parameters()]), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    DefaultScope.get_instance('benchmark', scope_name='mmseg')
    g = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=g).to(args.device)
    samples = []
    for i in range(BATCH):  # VOC has 1.5 classes an image
        tags = torch.zeros(CLASSES)
        tags[torch.randperm(CLASSES, generator=g)[:1 + i % 2]] = 1
        sample = SegDataSample()
        sample.set_data(dict(gt_label=tags.to(args.device)))
        samples.append(sample)
    print(f'{BATCH} images of {SIZE} x {SIZE} with 12 classes in all, {args.device}, one thread, median of '
          f'{args.repeats} alternating runs.\n')
    print('| network | pair by pair, double backward, ms | ours, ms | ratio '
          "| max. difference of the backbone's gradient, relative |")
    print('|---|---|---|---|---|')
    for name, parts in NETWORKS.items():
        torch.manual_seed(0)
        # Running statistics throughout: batch statistics would make images depend on each other.
        model = MODELS.build(dict(type='wsss_mm.CAMClassifier', objectives=[OBJECTIVE], **parts)).to(args.device).eval()
        results = {step: run(step, model, images, samples)[0] for step in (plain, ours)}  # warm up, and compare
        times = {step: [] for step in results}
        for _ in range(args.repeats):
            for step in results:
                times[step].append(run(step, model, images, samples)[1])
        slow, fast = (1e3 * statistics.median(times[step]) for step in (plain, ours))
        off = (results[ours] - results[plain]).abs().max() / results[plain].abs().max()
        print(f'| {name} | {slow:.0f} | {fast:.0f} | {slow / fast:.2f} | {off:.1e} |')


if __name__ == '__main__':
    main()
