"""Multi-scale class maps: batches and present classes alone, against image by image and all classes.

``python benchmarks/multi_scale_maps.py`` prints a Markdown table; add ``--device cuda`` where there is one.
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

from wsss_mm.localization import CAM, MultiScale
from wsss_mm.registry import MODELS

SCALES = (1., .5, 1.5, 2.)


def classifier(device: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(Config(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='ResNet', depth=18, strides=(1, 2, 2, 1)),
        head=dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=512),
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53],
                               std=[58.395, 57.12, 57.375], bgr_to_rgb=True))))
    torch.nn.init.normal_(model.head.classifier.weight)
    return model.to(device).eval()


@torch.no_grad()
def plain(model: nn.Module, images: list[np.ndarray], tags: Tensor) -> list[Tensor]:
    """As published: per image, scale and flip a forward; every class is enlarged, the present ones chosen last."""
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
            maps = model.class_maps(inputs).relu() + model.class_maps(inputs.flip(3)).relu().flip(3)
            total = total + F.interpolate(maps, target, mode='bilinear', align_corners=False)[0]
        chosen = total[present.to(total.device), :height, :width]
        results.append((chosen / (chosen.amax((1, 2), keepdim=True) + 1e-5)).cpu())
    return results


def ours(model: nn.Module, images: list[np.ndarray], tags: Tensor) -> list[Tensor]:
    return [torch.from_numpy(m.maps) for m in MultiScale(CAM(), SCALES).class_maps(model, images, tags)]


def merging(model: nn.Module, images: list[np.ndarray], tags: Tensor, repeats: int) -> float:
    """Share of the workers' half in our time."""
    multi = MultiScale(CAM(), SCALES)
    raw = multi.raw_maps(model, images, tags)
    start = time.process_time()
    for _ in range(repeats):
        for maps, image in zip(raw, images, strict=True):
            multi.merge(maps, *image.shape[:2])
    return (time.process_time() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    model = classifier(args.device)
    rng = np.random.default_rng(0)
    # On the CPU the thread's own time, which other work on the machine disturbs least.
    clock = time.perf_counter if args.device == 'cuda' else time.process_time
    print(f'ResNet-18, scales {SCALES} and mirrored, 20 classes of which an image has two, {args.device}, one thread, '
          f'median of {args.repeats} alternating runs, per image.\n')
    print('| images | size | one by one, ms | ours, ms | ratio | of ours: merging, in the workers, ms '
          '| max. difference |')
    print('|---|---|---|---|---|---|---|')
    for count, size in ((1, (96, 96)), (8, (96, 96)), (1, (188, 250)), (4, (188, 250))):
        images = list(rng.integers(0, 255, (count, *size, 3), np.uint8))
        tags = torch.zeros(count, 20, dtype=torch.bool)
        tags[:, [3, 14]] = True
        ways = (plain, ours)
        found = {way: way(model, images, tags) for way in ways}   # warm up, and compare
        times: dict = {way: [] for way in ways}
        for _ in range(args.repeats):
            for way in ways:
                start = clock()
                way(model, images, tags)
                times[way].append(clock() - start)
        slow, fast = (1e3 * statistics.median(times[way]) / count for way in ways)
        off = max((a - b).abs().max().item() for a, b in zip(found[plain], found[ours], strict=True))
        share = 1e3 * merging(model, images, tags, args.repeats) / count
        print(f'| {count} | {size[0]} x {size[1]} | {slow:.0f} | {fast:.0f} | {slow / fast:.2f} | {share:.1f} '
              f'| {off:.1e} |')


if __name__ == '__main__':
    main()
