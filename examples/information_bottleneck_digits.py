"""The information bottleneck of a classifier, seen on digits, and what RIB does to it.

The toy experiment of RIB (Lee's dissertation, sections 3.4.2 and 3.4.3, Figures 3.11 and 3.12), on the digits 2 and 8
that scikit-learn brings along instead of MNIST's. A tenth of the training images also hold a shape: a circle beside
a 2, a square beside an 8. The digit is what the classifier lives by (R_D), the shape belongs to the class but is not
needed (R_ND), the rest is background (R_BG). How much of each region reaches a layer is read off the gradient of that
layer by the image: the share of a region's pixels whose gradient is high (HGR).

Needs scikit-learn and matplotlib (pip install -e ".[examples]"). About three minutes on one CPU thread.

Examples:
    python examples/information_bottleneck_digits.py
    python examples/information_bottleneck_digits.py --seed 7 --seeds 1 --images 20 --out /tmp/digits
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_mm.localization.rib import rib_loss

CLASSES = (2, 8)
REGIONS = ('digit', 'shape', 'background')       # R_D, R_ND, R_BG
LAYERS = ('G1', 'G2', 'G3', 'G4', 'G5', 'G6')
CANVAS = 32                                      # pixels
HIGH = .3                                        # a gradient above it is high
MARGIN, BATCH = 600., 20                         # RIB's
REGION_COLOURS = np.array([(0, 103, 165), (217, 125, 0), (232, 234, 238)], np.uint8)


@dataclass
class Scenes:
    """Images and their regions.

    Attributes:
        images: ``(N, 1, 32, 32)``, 0 background, up to 1.
        labels: ``(N,)`` int64, 0 for a 2 and 1 for an 8.
        digit, shape: ``(N, 32, 32)`` bool, which never overlap.
    """

    images: Tensor
    labels: Tensor
    digit: Tensor
    shape: Tensor

    @property
    def tags(self) -> Tensor:
        """``(N, 2)``, the labels as 0 and 1 for each class."""
        return F.one_hot(self.labels, len(CLASSES)).float()

    @property
    def regions(self) -> Tensor:
        """``(3, N, 32, 32)`` bool: R_D, R_ND, R_BG; each pixel is in one of them."""
        return torch.stack([self.digit, self.shape, ~(self.digit | self.shape)])


def load_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's images of the digits 2 and 8: ``(351, 8, 8)`` in [0, 1], and their labels 0 and 1."""
    from sklearn.datasets import load_digits as load
    images, digits = load(return_X_y=True)
    keep = np.isin(digits, CLASSES)
    return (torch.as_tensor(images[keep], dtype=torch.float32).view(-1, 8, 8) / 16,
            torch.as_tensor(digits[keep] == CLASSES[1]).long())


def draw_scenes(digits: Tensor, labels: Tensor, shaped: Tensor, generator: torch.Generator, digit_size: int = 20,
                shape_size: int = 5) -> Scenes:
    """Put digits, and shapes beside some of them, at random places of an empty canvas.

    A shape and a pixel's distance find room beside any digit if ``digit_size + 2 * (shape_size + 1) <= 32``.

    Args:
        digits: ``(N, 8, 8)`` in [0, 1].
        labels: ``(N,)`` 0 or 1; 0 gets a circle, 1 a square.
        shaped: ``(N,)`` bool, which of them get a shape.
        generator: Of the places.
        digit_size, shape_size: Pixels; MNIST's digits have 20.
    """
    count, row = len(digits), torch.arange(len(digits))[:, None, None]
    large = F.interpolate(digits[:, None], (digit_size, digit_size), mode='bicubic', align_corners=False)[:, 0]
    # A clear edge, so that it is certain which pixels are the digit's.
    large = torch.where(large > .25, large.clamp_max(1), 0.)
    images = torch.zeros(count, CANVAS, CANVAS)
    top, left = torch.randint(CANVAS - digit_size + 1, (2, count, 1), generator=generator)
    side = torch.arange(digit_size)
    images[row, (top + side)[:, :, None], (left + side)[:, None]] = large
    digit = images > 0
    # Free places: the shape's square and a pixel around it are empty.
    near = F.conv2d(digit[:, None].float(), torch.ones(1, 1, shape_size + 2, shape_size + 2), padding=1)
    place = torch.multinomial((near == 0).flatten(1).float(), 1, generator=generator)
    y, x = place // near.shape[3], place % near.shape[3]
    side = torch.arange(shape_size)
    away = (side - (shape_size - 1) / 2) ** 2
    circle = away[:, None] + away <= (shape_size / 2) ** 2
    forms = torch.stack([circle, torch.ones_like(circle)])
    shape = torch.zeros(count, CANVAS, CANVAS, dtype=torch.bool)
    shape[row, (y + side)[:, :, None], (x + side)[:, None]] = forms[labels] & shaped[:, None, None]
    return Scenes(torch.where(shape, 1., images)[:, None], labels, digit, shape)


class DigitNet(nn.Module):
    """Five convolutional layers, global average pooling and a fully connected layer; sigmoids over its two logits."""

    def __init__(self, channels: tuple[int, ...] = (16, 16, 32, 32, 32)) -> None:
        super().__init__()
        widths = (1, *channels)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, channels, strict=False))
        self.fc = nn.Linear(channels[-1], len(CLASSES))

    def features(self, images: Tensor) -> list[Tensor]:
        """``(N, 1, H, W)`` -> the five maps T_1 … T_5, each after its ReLU."""
        x, found = (images - .13) / .31, []   # MNIST's usual mean and deviation
        for i, conv in enumerate(self.convs):
            x = conv(F.avg_pool2d(x, 2) if i in (2, 4) else x).relu()
            found.append(x)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 1, H, W)`` -> logits ``(N, 2)``."""
        return self.fc(self.features(images)[-1].mean((2, 3)))


def bce_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """L_BCE, summed over images and classes; logits and tags ``(N, 2)``."""
    return F.binary_cross_entropy_with_logits(logits, tags, reduction='sum')


def train(scenes: Scenes, iterations: int, generator: torch.Generator) -> DigitNet:
    """A classifier trained with L_BCE (Adam, 32 images a step)."""
    net = DigitNet()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, iterations)
    for _ in range(iterations):
        batch = torch.randint(len(scenes.labels), (32,), generator=generator)
        loss = bce_loss(net(scenes.images[batch]), scenes.tags[batch]) / len(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def gradient_maps(net: DigitNet, images: Tensor, labels: Tensor) -> Tensor:
    """Absolute gradients by the image, ``(N, 6, H, W)``.

    G_l is that of the sum of T_l over positions and channels, G_6 that of the logit y^c. An image's features depend
    on that image alone, so one backward of the sum over the batch gives the gradients of all its images.
    """
    images = images.clone().requires_grad_()
    features = net.features(images)
    logits = net.fc(features[-1].mean((2, 3)))
    ends = [*(feature.sum() for feature in features), logits.gather(1, labels[:, None]).sum()]
    return torch.cat([torch.autograd.grad(end, images, retain_graph=True)[0] for end in ends], 1).abs()


def high_gradient_ratio(gradients: Tensor, regions: Tensor) -> Tensor:
    """HGR: the share of a region's pixels whose gradient, divided by its map's largest, is above .3.

    Args:
        gradients: ``(N, L, H, W)``, not negative.
        regions: ``(R, N, H, W)`` bool, none of them empty.

    Returns:
        ``(R, N, L)``.
    """
    high = gradients > HIGH * gradients.amax((2, 3), keepdim=True)
    return (high & regions[:, :, None]).sum((3, 4)) / regions.sum((2, 3))[:, :, None]


def adapt(net: DigitNet, others: Scenes, image: Tensor, tags: Tensor, steps: int, rate: float, loss: Any,
          generator: torch.Generator) -> Tensor:
    """Adapt the weights to one image and take G_6 before and after each step; ``net`` stays as it is.

    Plain gradient descent as in the text: theta_k = theta_{k-1} - rate * gradient, on the image and 19 random others.

    Args:
        image, tags: ``(1, 1, H, W)``, ``(1, 2)``.
        loss: Of logits and tags, both ``(20, 2)``.

    Returns:
        ``(steps + 1, H, W)``.
    """
    net, found = copy.deepcopy(net), []
    optimizer = torch.optim.SGD(net.parameters(), rate)
    known = others.tags
    for k in range(steps + 1):
        pixels = image.clone().requires_grad_()
        found.append(torch.autograd.grad((net(pixels) * tags).sum(), pixels)[0][0, 0].abs())
        if k < steps:
            batch = torch.randint(len(known), (BATCH - 1,), generator=generator)
            optimizer.zero_grad()
            loss(net(torch.cat([image, others.images[batch]])), torch.cat([tags, known[batch]])).backward()
            optimizer.step()
    return torch.stack(found)


def experiment(seed: int, images: int, iterations: int, steps: int, rate: float, digit_size: int = 20,
               shape_size: int = 5, copies: int = 8) -> dict[str, Any]:
    """The whole experiment once.

    Args:
        seed: Of the division into training and test digits, all drawing, the weights and the batches.
        images: Test images, all with a shape, of digits that training does not see.
        iterations: Of training.
        steps, rate: Of the adaptation to each image.
        digit_size, shape_size: See :func:`draw_scenes`.
        copies: Training images per digit, at different places.

    Returns:
        ``scenes``, their ``gradients`` ``(N, 6, H, W)``, ``adapted`` ``(N, steps + 1, H, W)`` (G_6 in RIB), the mean
        HGRs ``layers`` ``(3, 6)``, ``rib`` and ``bce`` ``(3, steps + 1)``, and the test ``accuracy``.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    digits, labels = load_digits()
    order = torch.randperm(len(digits), generator=generator)
    test, known = order[:images], order[images:].repeat(copies)
    shaped = torch.rand(len(known), generator=generator) < .1
    training = draw_scenes(digits[known], labels[known], shaped, generator, digit_size, shape_size)
    scenes = draw_scenes(digits[test], labels[test], torch.ones(len(test), dtype=torch.bool), generator, digit_size,
                         shape_size)
    net = train(training, iterations, generator)
    with torch.no_grad():
        accuracy = float((net(scenes.images).argmax(1) == scenes.labels).float().mean())
    gradients = gradient_maps(net, scenes.images, scenes.labels)
    adapted = {}
    for name, loss in (('rib', partial(rib_loss, margin=MARGIN)), ('bce', bce_loss)):
        draws = torch.Generator().manual_seed(seed)   # the same others for both
        adapted[name] = torch.stack([adapt(net, training, image[None], tags[None], steps, rate, loss, draws)
                                     for image, tags in zip(scenes.images, scenes.tags, strict=True)])
    ratios = {name: high_gradient_ratio(maps, scenes.regions).mean(1).numpy()
              for name, maps in (('layers', gradients), *adapted.items())}
    return dict(scenes=scenes, gradients=gradients, adapted=adapted['rib'], accuracy=accuracy, **ratios)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs' figures as JSON types, HGR in percent: for each curve ``values[seed][region][layer or step]``."""
    found: dict[str, Any] = dict(unit='percent', regions=list(REGIONS), accuracy=[100 * r['accuracy'] for r in runs])
    for name in ('layers', 'rib', 'bce'):
        found[name] = (100 * np.stack([r[name] for r in runs]).astype(float)).round(2).tolist()
    return found


def table(found: dict[str, Any]) -> str:
    """Two Markdown tables, mean and standard deviation over the seeds."""
    lines = []
    steps = len(found['rib'][0][0])
    for title, curves, names in (
            ('layer', ('layers',), LAYERS), ('adaptation, step', ('rib', 'bce'), [str(k) for k in range(steps)])):
        lines += ['', f'| {title} | ' + ' | '.join(names) + ' |', '|---|' + '---:|' * len(names)]
        for curve in curves:
            values = np.array(found[curve])
            for i, region in enumerate(REGIONS):
                cells = [f'{m:.1f} ± {s:.1f}' for m, s in zip(values[:, i].mean(0), values[:, i].std(0), strict=True)]
                what = region if curve == 'layers' else f'L_{curve.upper()}, {region}'
                lines.append(f'| {what} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines[1:])


def plot_layers(run: dict[str, Any], found: dict[str, Any], path: Path, shown: int = 4) -> None:
    """Figure 3.11: images with their regions, their gradient maps, HGR per layer."""
    with _figure(path) as (top, bottom):
        names = [f'${name[0]}_{name[1]}$' for name in LAYERS]
        _gallery(top, run['scenes'], run['gradients'][:shown], names)
        axis = bottom.subplots()
        _curves(axis, range(1, 7), found, 'layers', 'High-gradient ratio of each layer')
        axis.set_xticks(range(1, 7), names)
        axis.set_xlabel('gradient of the layer by the image; $G_6$ of the logit, after the fully connected layer')


def plot_rib(run: dict[str, Any], found: dict[str, Any], path: Path, shown: int = 4) -> None:
    """Figure 3.12: G_6 in the course of RIB, HGR per step with L_RIB and with L_BCE."""
    with _figure(path) as (top, bottom):
        count = run['adapted'].shape[1]
        steps = [*range(0, count, max(1, (count - 1) // 5))]
        _gallery(top, run['scenes'], run['adapted'][:shown, steps], [f'$G_6$, step {k}' for k in steps])
        for axis, name in zip(bottom.subplots(1, 2, sharey=True), ('rib', 'bce'), strict=True):
            _curves(axis, range(count), found, name, f'$L_{{{name.upper()}}}$: HGR of $G_6$')
            axis.set_xlabel('step of the adaptation to the image')


@contextmanager
def _figure(path: Path) -> Iterator[Any]:
    """An upper and a lower part, saved in the end."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure = plt.figure(figsize=(11, 9.2), layout='constrained')
    yield figure.subfigures(2, 1, height_ratios=(.62, .38))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _gallery(part: Any, scenes: Scenes, maps: Tensor, names: list[str]) -> None:
    """A row for each image: itself, its regions, its maps ``(N, K, H, W)``, white at their largest value."""
    axes = part.subplots(len(maps), 2 + len(names), squeeze=False)
    for i, row in enumerate(axes):
        regions = REGION_COLOURS[scenes.regions[:, i].int().argmax(0).numpy()]
        for axis, picture in zip(row, [scenes.images[i, 0], regions, *maps[i]], strict=True):
            axis.set_axis_off()
            axis.imshow(picture, cmap='gray', vmin=0, vmax=float(picture.max()))
        y, x = scenes.shape[i].nonzero().unbind(1)
        for axis in row[2:]:
            axis.autoscale(False)
            axis.plot((x.min() - 1.5, x.max() + 1.5, x.max() + 1.5, x.min() - 1.5, x.min() - 1.5),
                      (y.min() - 1.5, y.min() - 1.5, y.max() + 1.5, y.max() + 1.5, y.min() - 1.5), color='#e8483b')
    for axis, name in zip(axes[0], ('image', 'regions', *names), strict=True):
        axis.set_title(name, fontsize=11)
    part.suptitle('Gradients by the image, each map divided by its largest value; the shape is framed', fontsize=12)


def _curves(axis: Any, xs: Iterable[int], found: dict[str, Any], name: str, title: str) -> None:
    """A line for each region: the mean of the seeds, and each seed thin."""
    values = np.array(found[name])
    for i, (region, colour) in enumerate(zip(REGIONS, ('#0067a5', '#d97d00', '#5c6670'), strict=True)):
        axis.plot(xs, values[:, i].T, color=colour, alpha=.3, linewidth=.8)
        axis.plot(xs, values[:, i].mean(0), color=colour, marker='o', markersize=4, linewidth=2, label=region)
    axis.set_title(title + (f', mean of {len(values)} seeds (thin: each)' if len(values) > 1 else ''), fontsize=12)
    axis.set_ylim(0, 102)
    axis.set_ylabel('HGR, %')
    axis.grid(axis='y', color='#d9dce1', linewidth=.8)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(frameon=False)


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results', metavar='DIR')
    parser.add_argument('--seed', type=int, default=0, help='the first seed')
    parser.add_argument('--seeds', type=int, default=5, help='how many, one after the other')
    parser.add_argument('--images', type=int, default=100, help='test images, each with a shape')
    parser.add_argument('--iterations', type=int, default=500, help='of training')
    parser.add_argument('--steps', type=int, default=10, help='K, steps of the adaptation to each image')
    parser.add_argument('--rate', type=float, default=1e-4, help='its learning rate')
    parser.add_argument('--digit-size', type=int, default=20, help='pixels, of 32')
    parser.add_argument('--shape-size', type=int, default=5, help='pixels')
    args = parser.parse_args(arguments)
    if args.digit_size + 2 * (args.shape_size + 1) > CANVAS:
        parser.error(f'a shape of {args.shape_size} pixels does not fit beside every digit of {args.digit_size}')
    torch.set_num_threads(1)   # sums in one order, so that a seed gives the same figures again
    settings = {name: value for name, value in vars(args).items() if name != 'out'}
    runs = []
    for seed in range(args.seed, args.seed + args.seeds):
        runs.append(experiment(seed, args.images, args.iterations, args.steps, args.rate, args.digit_size,
                               args.shape_size))
        print(f'seed {seed}: {100 * runs[-1]["accuracy"]:.0f} % of the test images classified correctly', flush=True)
    found = dict(summary(runs), settings=settings)
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.out / Path(__file__).stem
    name.with_suffix('.json').write_text(json.dumps(found) + '\n')
    name.with_suffix('.md').write_text(table(found) + '\n')
    plot_layers(runs[0], found, Path(f'{name}_layers.png'))
    plot_rib(runs[0], found, Path(f'{name}_rib.png'))
    print(f'\n{table(found)}\n\nwritten: {name}*')


if __name__ == '__main__':
    main()
