"""Background-aware pooling: ours against a plain loop over the boxes, and its share of a training step.

``python benchmarks/bap_head.py`` prints two Markdown tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from wsss_mm.models.backbones import VGG16
from wsss_mm.models.heads import BAPHead


def plain_queries(features: Tensor, background: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
    """Eq. (1) as it is written: pad, then one masked mean per image and cell."""
    def padding(n: int) -> tuple[int, int]:
        deficit = -n % grid_size
        return (deficit // 2, deficit // 2) if deficit % 2 == 0 else (0, deficit)

    (top, bottom), (left, right) = (padding(n) for n in features.shape[2:])
    features = F.pad(features, (left, right, top, bottom))
    mask = F.pad(background.to(features), (left, right, top, bottom))
    high, wide = (n // grid_size for n in mask.shape[1:])
    queries, valid = [], []
    for f, m in zip(features, mask, strict=True):
        for row in range(grid_size):
            for column in range(grid_size):
                cell = (slice(row * high, (row + 1) * high), slice(column * wide, (column + 1) * wide))
                queries.append((f[:, cell[0], cell[1]] * m[cell]).sum((1, 2)) / (m[cell].sum() + 1e-12))
                valid.append(bool(m[cell].sum() > 0))
    return torch.stack(queries).view(len(mask), -1, features.shape[1]), torch.tensor(valid).view(len(mask), -1)


def plain_windows(roi: Tensor, weight: Tensor, roi_size: tuple[int, int]) -> Tensor:
    """Weighted means ``(O, D)`` of the windows of one box's samples ``(D, n_h, n_w)``."""
    def replicated(x: Tensor) -> Tensor:
        down, left = max(0, roi_size[0] - x.shape[1]), max(0, roi_size[1] - x.shape[2])
        return F.pad(x[None], (left, 0, 0, down), mode='replicate')[0]

    roi, weight = replicated(roi), replicated(weight)
    strides = [n // o for n, o in zip(roi.shape[1:], roi_size, strict=True)]
    lengths = [n - (o - 1) * s for n, o, s in zip(roi.shape[1:], roi_size, strides, strict=True)]
    vectors = []
    for row in range(roi_size[0]):
        for column in range(roi_size[1]):
            part = [slice(i * s, i * s + n) for i, s, n in zip((row, column), strides, lengths, strict=True)]
            w = weight[:, part[0], part[1]]
            vectors.append((roi[:, part[0], part[1]] * w).sum((1, 2)) / (w.sum() + 1e-12))
    return torch.stack(vectors)


def plain_bap(features: Tensor, masks: Tensor, boxes: Tensor, image_index: Tensor, grid_size: int = 4,
              roi_size: tuple[int, int] = (2, 2), min_bg_fraction: float = .125) -> tuple[Tensor, Tensor, Tensor]:
    """One box at a time: sample with ``grid_sample``, weigh, pool; queries, one cell at a time.

    Returns:
        ``(K, O, D)`` foreground vectors, ``(N, J, D)`` queries, ``(N, J)`` bool: the cell has background.
    """
    (height, width), (h, w) = masks.shape[1:], features.shape[2:]
    background = (masks == 1).float()
    rows, columns = (torch.arange(n) * full // n for n, full in zip((h, w), (height, width), strict=True))
    queries, valid = plain_queries(features, background[:, rows][:, :, columns], grid_size)
    size = torch.tensor([width, height, width, height], dtype=torch.float32)
    pooled = []
    for box, image in zip(boxes.float(), image_index.tolist(), strict=True):
        x1, y1, x2, y2 = ends = box / ((size - 1) / 2) - 1
        a, b, c, d = ((ends + 1) * (torch.tensor([w, h, w, h]) - 1) / 2).tolist()
        n_w, n_h = (max(1, int(torch.tensor(hi).ceil() - torch.tensor(lo).floor())) for lo, hi in ((a, c), (b, d)))
        grid_y, grid_x = torch.meshgrid(torch.linspace(y1, y2, n_h), torch.linspace(x1, x2, n_w), indexing='ij')
        grid = torch.stack([grid_x, grid_y], -1)[None].to(features)
        roi = F.grid_sample(features[image:image + 1], grid, mode='bilinear', align_corners=False)[0]
        weight = roi.new_ones(1, n_h, n_w)
        if valid[image].any() and background[image].mean() > min_bg_fraction:
            chosen = queries[image][valid[image]]
            cosine = F.relu(F.cosine_similarity(roi[None], chosen[:, :, None, None], dim=1))
            weight = 1 - cosine.mean(0, keepdim=True)
        pooled.append(plain_windows(roi, weight, roi_size))
    return torch.stack(pooled), queries, valid


def batch(images: int = 2, boxes: int = 3, size: int = 321, seed: int = 0) -> list[SegDataSample]:
    """Samples with random boxes (sides 60 to 200 px) and their background masks."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(images):
        low = torch.rand(boxes, 2, generator=generator) * (size - 200)
        high = low + 60 + 140 * torch.rand(boxes, 2, generator=generator)
        mask = torch.ones(1, size, size, dtype=torch.uint8)
        for x1, y1, x2, y2 in torch.cat([low, high], 1).round().int().tolist():
            mask[0, y1:y2, x1:x2] = 0
        sample = SegDataSample(gt_bg_mask=PixelData(data=mask))
        sample.gt_instances = InstanceData(bboxes=torch.cat([low, high], 1), labels=torch.arange(boxes))
        samples.append(sample)
    return samples


def seconds(step: Callable[[], object], repeats: int) -> float:
    """The fastest of several runs, after one to warm up."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def compare_with_loop(images: int, boxes: int, channels: int, repeats: int = 5) -> tuple[float, float, float, float]:
    """Seconds of the loop and of ours (forward and backward), largest differences of the loss and of its gradient."""
    samples = batch(images, boxes)
    torch.manual_seed(0)
    head = BAPHead(20, channels)
    torch.nn.init.normal_(head.classifier.weight, std=.01)  # not init_weights: it prints a log
    features = torch.randn(images, channels, 41, 41).relu().requires_grad_()
    masks = torch.cat([s.gt_bg_mask.data for s in samples])
    all_boxes = torch.cat([s.gt_instances.bboxes for s in samples])
    labels = torch.cat([s.gt_instances.labels for s in samples])
    index = torch.arange(images).repeat_interleave(boxes)

    def plain() -> tuple[Tensor, Tensor]:
        pooled, queries, valid = plain_bap(features, masks, all_boxes, index)
        vectors = torch.cat([pooled.flatten(0, 1), queries[valid]])
        target = torch.cat([(labels + 1).repeat_interleave(4), labels.new_zeros(int(valid.sum()))])
        loss = F.cross_entropy(vectors @ head.weight_matrix.T, target)
        return loss.detach(), torch.autograd.grad(loss, features)[0]

    def ours() -> tuple[Tensor, Tensor]:
        loss = head.loss((features,), samples)['loss_bap']
        return loss.detach(), torch.autograd.grad(loss, features)[0]

    (loss_plain, grad_plain), (loss_ours, grad_ours) = plain(), ours()
    return (seconds(plain, repeats), seconds(ours, repeats), (loss_plain - loss_ours).abs().item(),
            ((grad_plain - grad_ours).abs().max() / grad_plain.abs().max()).item())


def step_overhead(repeats: int = 3) -> tuple[float, float]:
    """Seconds of forward and backward of the VGG-16 trunk, and of the head on top (321 x 321, 2 images, 6 boxes)."""
    trunk, head, samples = VGG16(), BAPHead(20, 1024), batch()
    image = torch.randn(2, 3, 321, 321)

    def trunk_step() -> None:
        trunk(image)[0].sum().backward()

    def head_step() -> None:
        head.loss((features,), samples)['loss_bap'].backward()

    with torch.no_grad():
        features = trunk(image)[0]
    features.requires_grad_()
    return seconds(trunk_step, repeats), seconds(head_step, 3 * repeats)


def main() -> None:
    torch.set_num_threads(1)
    print(f'CPU, one thread, torch {torch.__version__}; forward and backward, fastest run.\n')
    print('| images x boxes | channels | loop / ours | max difference, loss | gradient (of its maximum) |')
    print('|---|---|---|---|---|')
    for images, boxes, channels in ((2, 3, 1024), (8, 3, 96), (2, 20, 256)):
        loop, ours, loss, grad = compare_with_loop(images, boxes, channels)
        print(f'| {images} x {boxes} | {channels} | {loop / ours:.1f} | {loss:.1e} | {grad:.1e} |')
    trunk, head = step_overhead()
    print('\n| training step, 321 x 321, 2 images, 6 boxes | of the trunk alone |')
    print('|---|---|')
    print(f'| VGG16 trunk | 100 % |\n| BAP on top | {100 * head / trunk:.1f} % |')


if __name__ == '__main__':
    main()
