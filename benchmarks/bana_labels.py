"""BANA's label maths: features up-sampled first, as the method is written, against the low-resolution algebra.

    python benchmarks/bana_labels.py

One image of 500 x 375 with 1024 channels on one thread, three boxes of two classes; CRF excluded. Then the peak
memory of either formulation, each in a process of its own.
"""

import os

os.environ['OMP_NUM_THREADS'] = '1'

import ctypes  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from wsss_mm.localization import (  # noqa: E402
    UpsampledFeatures,
    background_attention,
    best_class,
    box_class_maps,
    box_masks,
    crf_input,
    retrieval_maps,
    threshold_background,
)

torch.set_num_threads(1)
CHANNELS = 1024


def problem(height: int, width: int, channels: int = CHANNELS) -> dict[str, Tensor]:
    """Features of stride 8 that are non-negative and smooth, as after a ReLU, and three boxes of two classes."""
    generator = torch.Generator().manual_seed(0)
    low = -(-height // 8), -(-width // 8)
    coarse = torch.randn(1, channels, 5, 7, generator=generator)
    features = F.interpolate(coarse, low, mode='bicubic')[0] + .3 * torch.randn(channels, *low, generator=generator)
    boxes = torch.tensor([[.1, .15, .5, .8], [.45, .3, .9, .95], [.35, .05, .6, .5]])
    boxes = (boxes * torch.tensor([width, height, width, height])).long()
    index = torch.tensor([0, 1, 0])
    return dict(features=features.relu(), boxes=boxes, index=index,
                inside=box_masks(boxes, index, 2, height, width),
                weights=.05 * torch.randn(3, channels, generator=generator))


def plain(features: Tensor, boxes: Tensor, index: Tensor, inside: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Everything at full resolution."""
    background = ~inside.any(0)
    f = F.interpolate(features[None], background.shape, mode='bilinear', align_corners=True)[0]
    query = (f * background).sum((1, 2)) / background.sum()
    unit = F.normalize(f, dim=0)
    attention = torch.einsum('d,dhw->hw', F.normalize(query, dim=0), unit).relu()
    u_0 = torch.where(attention < .99 * attention.max(), 0, attention).masked_fill(background, 1)
    u_c = torch.zeros(inside.shape)
    for (x1, y1, x2, y2), c in zip(boxes.tolist(), index.tolist(), strict=True):
        raw = torch.einsum('d,dhw->hw', weights[c + 1], f).relu()[y1:y2, x1:x2]
        u_c[c, y1:y2, x1:x2] = raw / (raw.max() + 1e-12)
    scores = torch.cat([u_0[None], u_c])
    scores[:, ~background] = scores[:, ~background].softmax(0)
    labels = best_class(scores)
    maps = []
    for c in range(3):
        mask = labels == c
        prototype = f[:, mask].mean(1) if mask.any() else weights[c]
        maps.append(torch.einsum('d,dhw->hw', F.normalize(prototype, dim=0), unit).relu())
    maps = torch.stack(maps)
    maps[0][background] = 1
    maps[1:][~inside] = 0
    return attention, scores, labels, maps


def ours(features: Tensor, boxes: Tensor, index: Tensor, inside: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """The same as ``BANALabels`` does it."""
    background = ~inside.any(0)
    upsampled = UpsampledFeatures(features, *background.shape)
    norm = upsampled.norm()
    attention = background_attention(upsampled, background, 1, norm)
    u_c = box_class_maps(upsampled, weights[1:], boxes, index)
    scores = crf_input(threshold_background(attention, background), u_c, background)
    labels = best_class(scores)
    return attention, scores, labels, retrieval_maps(upsampled, labels, weights, inside, norm)


def seconds(function, arguments: dict[str, Tensor], repeats: int) -> tuple[float, tuple[Tensor, ...]]:
    """The shortest of some runs, and the last one's results."""
    best = float('inf')
    for _ in range(repeats):
        start = time.perf_counter()
        result = function(**arguments)
        best = min(best, time.perf_counter() - start)
    return best, result


def peak_mib(function: str, height: int, width: int) -> float:
    """Growth of a fresh process's peak memory over what it held with the inputs ready."""
    out = subprocess.run([sys.executable, __file__, function, str(height), str(width)], check=True,
                         capture_output=True, text=True)
    return float(out.stdout)


def main() -> None:
    arguments = problem(375, 500)
    ours(**problem(40, 60))   # first use of each kernel
    plain(**problem(40, 60))
    fast, (attention, scores, labels, maps) = seconds(ours, arguments, 7)
    slow, (attention_0, scores_0, labels_0, maps_0) = seconds(plain, arguments, 2)
    # The threshold is a step: a pixel within rounding of it may fall on either side. Compared apart from the rest.
    stepped = ((scores - scores_0).abs() > 1e-4).any(0)
    print('# BANA label maths\n\n`python benchmarks/bana_labels.py`\n\n'
          f'CPU, one thread, torch {torch.__version__}; fastest run.\n')
    print('| quantity (500 x 375, 1024 channels, 3 boxes, 2 classes, CRF excluded) | value |')
    print('|---|---|')
    print(f'| plain formulation | {slow:.2f} s |')
    print(f'| ours | {fast:.3f} s |')
    print(f'| ratio | {slow / fast:.0f} x |')
    print(f'| background attention, max difference | {(attention - attention_0).abs().max():.1e} |')
    print(f'| CRF input, max difference | {(scores - scores_0)[:, ~stepped].abs().max():.1e} |')
    print(f'| pixels on the other side of the threshold .99 | {int(stepped.sum())} of {stepped.numel()} |')
    print(f'| correlation maps, max difference | {(maps - maps_0).abs().max():.1e} |')
    print(f'| differing pixels of Y_ret | {int((best_class(maps) != best_class(maps_0)).sum())} |')
    print(f'| peak memory beside the inputs at 500 x 375, plain | {peak_mib("plain", 375, 500):.0f} MiB |')
    print(f'| peak memory beside the inputs at 500 x 375, ours | {peak_mib("ours", 375, 500):.0f} MiB |')
    print(f'| peak memory beside the inputs at 2000 x 1500, ours | {peak_mib("ours", 1500, 2000):.0f} MiB |')
    print('| one up-sampled feature map at 2000 x 1500, of which the plain formulation holds several | '
          f'{CHANNELS * 1500 * 2000 * 4 / 2 ** 30:.1f} GiB |')


def measure_peak(function: str, height: int, width: int) -> None:
    """Print the growth of this process's peak memory, in MiB (Linux: the kernel's own high-water mark)."""
    def status(field: str) -> int:
        with open('/proc/self/status') as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(field))

    ours(**problem(40, 60))   # loads what the first use of a kernel loads
    arguments = problem(height, width)
    ctypes.CDLL(None).malloc_trim(0)   # gives back what making the inputs left over
    with open('/proc/self/clear_refs', 'w') as control:
        control.write('5')   # puts the mark back to what is held now
    before = status('VmRSS')
    dict(plain=plain, ours=ours)[function](**arguments)
    print((status('VmHWM') - before) / 2 ** 10)


if __name__ == '__main__':
    if len(sys.argv) > 1:
        measure_peak(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
