"""AdvCAM: the published trajectory, and pairs that climb at once as if alone."""


import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from wsss_mm.localization import AdvCAM, Views
from wsss_mm.localization.adv_cam import climbing_objective, merged_map, region_maps
from wsss_mm.models.objectives.out_of_distribution import climb
from wsss_mm.registry import MODELS, TASK_UTILS

close = torch.testing.assert_close
HEADS = ['GAPHead', 'GMPHead', 'HSPPHead', 'GPPHead', 'BAPHead']


def pair_of(image):
    return torch.cat([image, image.flip(3)])


def mirrored(number, scale=1.):
    return Views(tuple(map(str, range(number))), scale, True)


class Trunk(nn.Sequential):
    """A backbone of given layers."""

    def forward(self, x):
        return (super().forward(x),)


# ---------------------------------------------------------------- the published numbers

@pytest.fixture
def published(parity, classifier_of):
    """A fixture of the published code, and a classifier with the recorded weights."""
    def build(name):
        data = parity(f'advcam/{name}')
        weights = parity('advcam/trajectory')
        layers = []
        for i in range(1, 5):
            weight = weights[f'w{i}']
            layers += [nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1), nn.ReLU(inplace=True)]
            layers[-2].weight.data, layers[-2].bias.data = weight, weights[f'b{i}']
        model = classifier_of()
        model.backbone = Trunk(*layers)
        model.head = MODELS.build(Config(dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=24)))
        model.head.classifier.weight.data = weights['wc'][:, :, None, None]
        return data, model.eval()
    return build


def test_every_intermediate_of_the_trajectory(published):
    data, model = published('trajectory')
    label = torch.tensor([int(data['class_index'])])
    positive = (model.head.class_weights > 0).sum(1)
    images, first = data['x0'][None], None
    for t in range(5):
        images = images.detach().requires_grad_()
        scores = model.class_maps(images[0])[None]
        close(scores[0], data['scores'][t], rtol=1e-4, atol=1e-6)
        maps = region_maps(scores, label, positive)
        close(maps[0], data['region_raw'][t][:, 0], rtol=1e-5, atol=1e-7)
        close(merged_map(maps), data['region'][t], rtol=1e-5, atol=1e-7)
        first = merged_map(maps).detach() if first is None else first     # of |0| the gradient is 0
        logits = scores.relu().mean((3, 4))
        close(logits[0], data['logits_relu_gap'][t], rtol=1e-5, atol=1e-6)
        objective = climbing_objective(logits, label, merged_map(maps), first)
        close(objective, data['objective'][t:t + 1], rtol=1e-5, atol=1e-6)
        penalty = (climbing_objective(logits, label, merged_map(maps), first, 0.) - objective) / 7
        close(penalty, data['reg_term'][t:t + 1], rtol=1e-4, atol=1e-6)
        gradient, = torch.autograd.grad(objective.sum(), images)
        if t < 2:
            close(gradient[0], data['grad'][t], rtol=1e-4, atol=1e-4 * data['grad'][t].abs().max().item())
        images = climb(images, gradient, .08, (1, 2, 3, 4))
        if t in (0, 4):
            close(images[0], data['x_after'][t // 4], rtol=0, atol=1e-4)


def test_the_trace_sums_the_trajectory(published):
    data, model = published('trajectory')
    tags = (torch.arange(20) == data['class_index']).repeat(2, 1)
    steps = list(AdvCAM(steps=5).trace(model, data['x0'], tags, mirrored(1)))
    assert len(steps) == 5
    for maps, total in zip(steps, data['region'].cumsum(0), strict=True):
        close(maps[:1] + maps[1:].flip(2), total, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('output', 'name'), [('full', 'high_res'), ('quarter', 'cam')])
def test_the_published_maps_at_four_scales(published, output, name):
    data, model = published('full_T8')
    multi = TASK_UTILS.build(dict(
        type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.AdvCAM', steps=8), output=output))
    image, tags = data['image'].numpy(), data['label'][None] > 0
    raw, = multi.raw_maps(model, [image], tags)
    for i, maps in enumerate(raw):
        close(maps[:, 0] + maps[:, 1].flip(2), data[f'sum_scale{i}'], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(multi.merge(raw, *image.shape[:2]), data[name], atol=1e-4)


@pytest.mark.parametrize(('steps', 'small'), [
    (1, 1), (4, 4), (5, 5), (6, 5), (8, 5), (10, 5), (11, 5), (12, 6), (27, 13)])
def test_published_numbers_of_maps(steps, small):
    localizer = AdvCAM(steps)
    assert [localizer.num_maps(scale) for scale in (.5, 1., 1.5, 2.)] == [small, steps, steps, steps]
    assert AdvCAM(steps, half_steps_below=0).num_maps(.5) == steps
    assert AdvCAM(steps, half_steps_below=1.5).num_maps(1.) == small
    assert AdvCAM(steps, form='paper').num_maps(1.) == steps + 1


# ---------------------------------------------------------------- all pairs at once

def as_written(model, image, label, steps, regularization=7., mask_threshold=.5, step_size=.08):
    """The published scheme for one image, its mirror image and one class: two backwards a step, float64."""
    x, total, first = pair_of(image), 0, None
    for _ in range(steps):
        x = x.detach().requires_grad_()
        features = model.head.select(model.extract_feat(x))
        scores = model.head.project(features).relu()
        gradient, = torch.autograd.grad(scores[:, label].sum(), features, retain_graph=True)
        weights = gradient.sum((2, 3)) / ((gradient > 0).sum() + 1e-12)
        maps = torch.einsum('bd,bdhw->bhw', weights, features).relu()
        merged = maps[0] + maps[1].flip(1)
        first = merged.detach() if first is None else first
        total = total + merged.detach()
        mask = merged / merged.max() > mask_threshold
        means = scores.mean((2, 3)).sum(0)
        objective = 2 * means[label] - means.sum() - regularization * (mask * (merged - first).abs()).sum()
        step, = torch.autograd.grad(objective, x)
        x = torch.clamp(x + step_size * step / (step.abs().max() + 1e-12), x.min().item(), x.max().item())
    return total


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('backbone', ['toy', 'mobile', 'swin', 'mit'])
def test_a_batch_is_the_published_scheme_one_by_one(scoring, tags_of, backbone, head):
    """Any network and head; images without classes, with few and with all; in passes of any size."""
    if head != 'GAPHead' and backbone != 'toy':
        pytest.skip('the official form uses no pooling: one backbone does for the other heads')
    model = scoring(backbone, head).double()
    images = torch.randn(4, 3, *(20, 29) if backbone == 'toy' else (48, 80), dtype=torch.float64)
    tags, alive = tags_of((2,), (), range(6) if backbone == 'toy' else (0, 3), (5,)), 0
    for options in (dict(), dict(max_pixels=1), dict(max_pixels=5 * images[0, 0].numel())):
        found = AdvCAM(steps=4, **options).maps(model, pair_of(images), tags.repeat(2, 1), mirrored(4))
        plain, flipped = found.chunk(2)
        for pair, (image, label) in enumerate(tags.nonzero().tolist()):
            expected = as_written(model, images[image:image + 1], label, 4)
            close(plain[pair] + flipped[pair].flip(1), expected, rtol=1e-8, atol=1e-12)
            alive += int(expected.max() > 0)
    assert alive >= 6


@pytest.mark.parametrize('form', ['official', 'paper'])
@pytest.mark.parametrize('flip', [False, True])
def test_one_by_one_in_single_precision(scoring, tags_of, form, flip):
    model, images, tags = scoring(), torch.randn(3, 3, 30, 40), tags_of((0, 5), range(6), (1, 2, 4))
    localizer = AdvCAM(steps=10, form=form, step_size=None if form == 'official' else 1.)

    def run(chosen, present):
        rows = pair_of(images[chosen]) if flip else images[chosen]
        views = Views(('x',) * len(rows[:len(present)]), 1., flip)
        return localizer.maps(model, rows, present.repeat(1 + flip, 1), views).unflatten(0, (1 + flip, -1))

    together, done = run([0, 1, 2], tags), 0
    for image, label in tags.nonzero().tolist():
        alone = run([image], tags_of((label,)))
        close(together[:, done] / together[:, done].max(), alone[:, 0] / alone.max(), rtol=0, atol=1e-4)
        done += 1
    by_itself = AdvCAM(steps=10, form=form, step_size=localizer.step_size, max_pixels=1)
    localizer, whole = by_itself, together
    close(run([0, 1, 2], tags), whole, rtol=1e-4, atol=1e-4 * whole.abs().max().item())


def test_the_first_forward_is_shared_and_the_last_needs_no_graph(classifier_of, tags_of):
    """Rows of forwards and backwards: of 4 pairs of 3 images and their mirror images, 6 maps of each."""
    model, tags = classifier_of(), tags_of((0, 3, 4), (2,), ())
    forwards, backwards = [], []

    def count(_, inputs, outputs):
        forwards.append(len(inputs[0]))
        if outputs[0].requires_grad:
            outputs[0].register_hook(lambda gradient: backwards.append(len(gradient)))

    handle = model.backbone.register_forward_hook(count)
    AdvCAM(steps=6).maps(model, torch.randn(6, 3, 16, 20), tags.repeat(2, 1), mirrored(3))
    handle.remove()
    assert sorted(forwards) == [2, 2] + [8] * 5 and sum(backwards) == 5 * 8


def test_passes_stay_within_the_budget(classifier_of, tags_of):
    model, seen = classifier_of(), []
    model.backbone.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][:, 0].numel()))
    inputs, tags = torch.randn(6, 3, 16, 20), tags_of(range(6), (1, 2), (3, 4)).repeat(2, 1)
    AdvCAM(steps=3, max_pixels=3 * 2 * 320 + 7).maps(model, inputs, tags, mirrored(3))
    assert max(seen) == 3 * 2 * 320 and sum(seen) == 320 * 2 * (3 + 10 + 10)
    seen.clear()
    AdvCAM(steps=3, max_pixels=1).maps(model, inputs, tags, mirrored(3))
    assert set(seen) == {2 * 320}
