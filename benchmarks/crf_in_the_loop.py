"""What the CRF adds to a training step of SEC: each kernel, with and without workers, all classes or those present.

``python benchmarks/crf_in_the_loop.py`` prints a Markdown table; add ``--device cuda`` where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from wsss_mm.models.losses import SECLoss, SeedBatch, floored_probabilities
from wsss_mm.refinement import BatchCRF
from wsss_mm.registry import MODELS

TOY = dict(bilateral_weight=2, bilateral_xy=4, bilateral_rgb=6, gaussian_weight=1, gaussian_xy=.5)
NETWORKS = (   # name, backbone, channels of its last map, size, images, classes, CRF
    ('VGG-16 LargeFOV', dict(type='wsss_mm.VGG16', fc_dilation=12), 1024, 321, 4, 21, {}),
    ('ToyNet', dict(type='wsss_mm.ToyNet', output_stride=4), 96, 96, 16, 7, TOY))


def timed(work: Callable[[], object], repeats: int, device: str, workers: bool = False) -> float:
    """Seconds: the process's own on a CPU, median; by the wall clock, the fastest, where others do the work."""
    found = []
    clock = time.perf_counter if workers or device == 'cuda' else time.process_time
    for _ in range(repeats):
        start = clock()
        work()
        if device == 'cuda':
            torch.cuda.synchronize()
        found.append(clock() - start)
    return min(found) if workers else statistics.median(found)


def pictures(images: int, size: int) -> Tensor:
    """Images with edges and noise, ``(N, 3, size, size)`` in 0…255."""
    g = torch.Generator().manual_seed(0)
    coarse = F.interpolate(255 * torch.rand(images, 3, 5, 5, generator=g), (size, size))
    return (coarse + 6 * torch.randn(coarse.shape, generator=g)).clamp(0, 255)


def seeds(logits: Tensor, images: Tensor) -> SeedBatch:
    """One and a half classes per image, seeds on a tenth of the pixels."""
    count, classes, *size = logits.shape
    g = torch.Generator().manual_seed(1)
    tags = torch.zeros(count, classes, dtype=torch.bool)
    tags[:, :2] = True
    tags[::2, 2] = True
    cues = (torch.rand(logits.shape, generator=g) < .1) & tags[:, :, None, None]
    small = F.interpolate(images, size, mode='bilinear').round().byte().permute(0, 2, 3, 1).contiguous()
    device = logits.device
    return SeedBatch(cues.to(device), tags.to(device), small, torch.ones(count, *size, dtype=torch.bool, device=device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    print(f'{args.device}, one thread, processor time, median of {args.repeats} calls; with workers wall clock, the '
          "fastest call. Difference: of the posterior, to that of the network's first row.\n")
    print('| network | batch | step without the CRF, ms | CRF | the CRF alone, ms | step with it, ratio '
          '| share of the CRF | mean difference | pixels of another class |')
    print('|---|---|---|---|---|---|---|---|---|')
    for name, backbone, channels, size, count, classes, kwargs in NETWORKS:
        torch.manual_seed(0)
        model = nn.ModuleList([MODELS.build(backbone), nn.Conv2d(channels, classes, 1)]).to(args.device).train()
        images = pictures(count, size)
        inputs = ((images - 110) / 60).to(args.device)
        loss = SECLoss(constrain_weight=0)

        def step() -> Tensor:
            logits = model[1](model[0](inputs)[-1])          # noqa: B023
            sum(loss(logits, seeds(logits, images)).values()).backward()   # noqa: B023
            return logits.detach()

        logits = step() if size < 300 or args.device == 'cuda' else torch.zeros(count, classes, 41, 41)
        step_time = timed(step, 1 if size > 300 and args.device == 'cpu' else args.repeats, args.device)
        # An untrained network's logits are flat; those of a trained one are smooth and differ by several units.
        g = torch.Generator().manual_seed(2)
        logits = 4 * F.interpolate(torch.randn(*logits.shape[:2], 6, 6, generator=g), logits.shape[2:],
                                   mode='bilinear').to(args.device)
        batch = seeds(logits, images)
        logits = logits - 6 * ~batch.tags[:, :, None, None]      # and know the tags by then
        unary = -floored_probabilities(logits).log()
        first = None
        for label, options in (('lattice', {}), ('lattice, 2 workers', dict(num_workers=2)),
                               ('lattice, present classes', dict(classes='present')),
                               ('exact', dict(kernel='exact')),
                               ('exact, present classes', dict(kernel='exact', classes='present'))):
            crf = BatchCRF(**kwargs, **options)
            posterior = crf(batch.images, unary, batch.tags)
            first = posterior if first is None else first
            spent = timed(lambda: crf(batch.images, unary, batch.tags), args.repeats, args.device,   # noqa: B023
                          bool(crf.num_workers))
            crf.close()
            changed = (posterior.argmax(1) != first.argmax(1)).double().mean()
            print(f'| {name}, {size} px | {count} | {1e3 * step_time:.0f} | {label} | {1e3 * spent:.0f} '
                  f'| {1 + spent / step_time:.3f} | {100 * spent / (spent + step_time):.1f} % '
                  f'| {(posterior - first).abs().sum(1).mean() / 2:.1e} | {100 * changed:.1f} % |', flush=True)


if __name__ == '__main__':
    main()
