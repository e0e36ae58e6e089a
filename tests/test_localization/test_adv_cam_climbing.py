"""AdvCAM: what climbing does to an image, what must change nothing, edges and refusals."""

import gc
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.localization import CAM, AdvCAM, MultiScale, Views
from wsss_mm.localization.adv_cam import climbing_objective, merged_map, own_maps, peak_maps, region_maps
from wsss_mm.registry import MODELS

close = torch.testing.assert_close
HEADS = ['GAPHead', 'GMPHead', 'HSPPHead', 'GPPHead', 'BAPHead']


class AsItIs(nn.Module):
    """The image as the feature map."""

    def forward(self, x):
        return (x,)


# ---------------------------------------------------------------- what climbing does

@pytest.mark.parametrize('form', ['official', 'paper'])
@pytest.mark.parametrize('head', HEADS)
def test_the_class_score_climbs(scoring, tags_of, head, form):
    """Means of ReLU'd class maps, whatever the head, in the official form; the head's own logit in the paper's."""
    model, inputs, tags = scoring(head=head), torch.randn(2, 3, 32, 40), tags_of((0, 5), (3,))
    image, label = tags.nonzero().unbind(1)
    seen = []

    def score(_, __, feats):
        maps = model.head.class_maps(feats)
        logits = maps.relu().mean((2, 3)) if form == 'official' else model.head(feats)
        if len(maps) == 3:
            seen.append(logits.detach()[range(3), label])

    model.backbone.register_forward_hook(score)
    localizer = AdvCAM(steps=8, form=form, regularization=0., suppression=0.,
                       step_size=.08 if form == 'official' else .5)
    localizer.maps(model, inputs, tags)
    assert (seen[-1] > seen[0]).all() and (torch.stack(seen).diff(dim=0) > 0).float().mean() > .7


def test_official_maps_need_no_pooling(scoring, tags_of):
    inputs, tags = torch.randn(2, 3, 24, 32), tags_of((0, 5), (3,))
    expected = AdvCAM(steps=4).maps(scoring(), inputs, tags)
    for head in HEADS[1:]:
        model = scoring(head=head)
        model.backbone.load_state_dict(scoring().backbone.state_dict())
        model.head.class_weights.data.copy_(scoring().head.class_weights.data)
        close(AdvCAM(steps=4).maps(model, inputs, tags), expected)


def test_regularisation_holds_where_the_map_is_high(scoring, tags_of):
    model, inputs, tags = scoring(), torch.randn(4, 3, 32, 40), tags_of(*[(i,) for i in range(4)])

    def last_map(weight):
        totals = list(AdvCAM(steps=12, regularization=weight).trace(model, inputs, tags))
        return totals[0], totals[-1] - totals[-2]

    first, free = last_map(0.)
    high = first > .5 * first.amax((1, 2), keepdim=True)

    def change(maps):
        return ((maps - first).abs() * high).sum((1, 2)) / (first * high).sum((1, 2))

    held = change(last_map(7.)[1])
    assert (held < .5 * change(free)).all() and (change(last_map(.1)[1]) > held).all()


def test_other_classes_are_suppressed(scoring, tags_of):
    model, inputs, tags = scoring(), torch.randn(2, 3, 32, 40), tags_of((1,), (4,))

    def others(weight):
        seen = []
        handle = model.backbone.register_forward_hook(
            lambda _, __, feats: seen.append(model.head.class_maps(feats).detach().relu().mean((2, 3))))
        AdvCAM(steps=10, suppression=weight, regularization=0.).maps(model, inputs, tags)
        handle.remove()
        return (seen[-1] * ~tags).sum(1)

    assert (others(1.) < others(0.)).all()


def test_by_hand_on_a_linear_network(classifier_of, tags_of):
    """The image itself as the features: gradients are the classifier's weights."""
    model = classifier_of().double()
    model.backbone = AsItIs()
    model.head = MODELS.build(Config(dict(type='wsss_mm.GAPHead', num_classes=3, in_channels=3))).double()
    weight = torch.tensor([[1., 0, 0], [-2, 1, 0], [0, 0, 4]], dtype=torch.float64)
    model.head.classifier.weight.data = weight[:, :, None, None]
    image = torch.tensor([[3., 1], [2, 0], [-1, 1]], dtype=torch.float64).view(1, 3, 1, 2)
    tags = torch.tensor([[True, False, False]])

    # Scores 3 1 | -4 -2 | -4 4. Official, λ = 0: +1/2 for channel 0 everywhere, -4/2 for channel 2 at the second.
    official = list(AdvCAM(steps=3, step_size=.1, regularization=0).trace(model, image, tags))
    close(official[0][0, 0], torch.tensor([3., 1]).double())                 # one positive weight
    close((official[1] - official[0])[0, 0], torch.tensor([3., 1.025]).double())         # 3 is the largest value
    # λ = 7: at first no change to hold; once 1.025 is above 3 τ, -7 · (1.025 - 1) has a gradient of -7 there.
    held = list(AdvCAM(steps=3, step_size=.1, mask_threshold=.3).trace(model, image, tags))
    close((held[2] - held[1])[0, 0], torch.tensor([3., 1.025 - .1]).double())

    # Paper, λ = 0: the other classes' weights are subtracted wherever their scores are.
    moved, totals = image.clone(), 0
    for total in AdvCAM(steps=3, step_size=.1, form='paper', regularization=0).trace(model, image, tags):
        maps = moved[0, 0] / moved[0, 0].max()
        totals = totals + maps
        close(total[0], totals)
        moved += .1 * (weight[0] - weight[1] - weight[2])[None, :, None, None] / 2
    assert len(list(AdvCAM(steps=3, form='paper').trace(model, image, tags))) == 4


def test_gradients_of_the_pure_functions():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 2, 4, 3, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    first = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)
    labels, positive = torch.tensor([3, 1]), torch.tensor([2, 3, 1, 4])
    for maps_of in (lambda s: region_maps(s, labels, positive), lambda s: peak_maps(s, labels)):
        def objective(s, maps_of=maps_of):
            return climbing_objective(s.mean((3, 4)), labels, merged_map(maps_of(s)), first)
        assert torch.autograd.gradcheck(objective, scores)
    factors = region_maps(scores, labels, positive) / own_maps(scores, labels).relu().clamp_min(1e-9)
    counts = (own_maps(scores, labels) > 0).sum((2, 3))
    close(factors.amax((2, 3)), counts / counts.sum(1, keepdim=True) / positive[labels][:, None].double())


# ---------------------------------------------------------------- invariances

def test_the_mirror_image_has_mirrored_maps(scoring, tags_of):
    model, tags = scoring(), tags_of((0, 3))
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    for form in ('official', 'paper'):
        multi = MultiScale(AdvCAM(steps=5, form=form), scales=(1., .5), align16=False)
        maps, = multi.class_maps(model, [image], tags)
        other, = multi.class_maps(model, [image[:, ::-1].copy()], tags)
        np.testing.assert_allclose(other.maps, maps.maps[:, :, ::-1], atol=1e-4)
        assert np.abs(maps.maps - maps.maps[:, :, ::-1]).max() > .1


@pytest.mark.parametrize('form', ['official', 'paper'])
def test_the_first_map_is_the_class_map(scoring, tags_of, form):
    model, inputs, tags = scoring(), torch.randn(2, 3, 30, 40), tags_of((0, 2), (4,))
    first = next(iter(AdvCAM(form=form).trace(model, inputs, tags)))
    with torch.no_grad():
        expected = CAM().maps(model, inputs, tags)
    close(first.relu() / first.amax((1, 2), keepdim=True),
          expected.relu() / expected.amax((1, 2), keepdim=True))


def test_a_trace_over_scales_ends_with_the_maps(scoring, tags_of):
    model, tags = scoring(), tags_of((1, 4))
    image = np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8)
    multi = MultiScale(AdvCAM(steps=8), scales=(1., .5))
    steps = list(multi.trace(model, image, tags[0]))
    assert len(steps) == 8
    for maps, last in zip(multi.raw_maps(model, [image], tags)[0], steps[-1], strict=True):
        close(maps, last)
    assert all((b[0] - a[0]).abs().max() > 0 for a, b in zip(steps, steps[1:], strict=False))
    assert [torch.equal(a[1], b[1]) for a, b in zip(steps, steps[1:], strict=False)] == [False] * 4 + [True] * 3


@pytest.mark.filterwarnings('ignore:.*use_reentrant')
@pytest.mark.parametrize('backbone', ['swin', 'mit'])
def test_checkpointed_blocks(classifier_of, tags_of, backbone):
    model, inputs, tags = classifier_of(backbone), torch.randn(2, 3, 64, 64), tags_of((0, 2), (4,))
    expected = AdvCAM(steps=3).maps(model, inputs, tags)
    for module in model.modules():
        if hasattr(module, 'with_cp'):
            module.with_cp = True
    close(AdvCAM(steps=3).maps(model, inputs, tags), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('fails', [False, True])
def test_the_model_is_left_as_it_was(classifier_of, tags_of, fails):
    """Also by an error in the second step, by a trace that is not followed to its end, and between its steps."""
    model, inputs, tags = classifier_of(), torch.randn(2, 3, 32, 40), tags_of((0, 2), (4,))
    model.backbone.stem.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    modes = [m.training for m in model.modules()]

    def unchanged():
        same = all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        return same and [(p.requires_grad, p.grad) for p in model.parameters()] == flags and modes == [
            m.training for m in model.modules()]

    calls = []

    def fail(*_):
        calls.append(torch.is_grad_enabled())
        if fails and len(calls) == 3:
            raise RuntimeError('out of memory')

    model.backbone.layer3.register_forward_hook(fail)
    inputs.requires_grad_()
    with torch.no_grad():
        if fails:
            with pytest.raises(RuntimeError, match='out of memory'):
                AdvCAM(steps=4).maps(model, inputs, tags)
        else:
            found = AdvCAM(steps=4).maps(model, inputs, tags)
            assert calls == [True] * 4 + [False] and not found.requires_grad     # two images of unlike counts first
        assert not torch.is_grad_enabled() and unchanged() and inputs.grad is None
    fails = False
    trace = AdvCAM(steps=4).trace(model, inputs, tags)
    start = next(trace).clone()
    assert torch.is_grad_enabled() and unchanged()
    assert not torch.equal(next(trace), start) and unchanged()


def test_memory_does_not_grow_with_the_images(classifier_of, tags_of):
    model = classifier_of()
    multi = MultiScale(AdvCAM(steps=2), scales=(1.,), flip=False)
    rng, held = np.random.default_rng(0), []
    for number in range(200):
        multi.raw_maps(model, [rng.integers(0, 255, (8, 9 + number % 3, 3), np.uint8)], tags_of(range(number % 4)))
        if number % 50 == 49:
            gc.collect()
            held.append((sum(type(x) is torch.Tensor for x in gc.get_objects()), len(gc.get_objects())))
    assert held[1][0] == held[2][0] == held[3][0] and held[3][1] - held[1][1] < 50


# ---------------------------------------------------------------- edges and refusals

@pytest.mark.parametrize('form', ['official', 'paper'])
def test_a_class_predicted_nowhere(classifier_of, tags_of, form):
    """Its maps are 0 at first, and nothing is NaN; the other pairs do not notice."""
    model, inputs, tags = classifier_of(), torch.randn(2, 3, 24, 32), tags_of((1, 3), (3,))
    localizer = AdvCAM(steps=4, form=form)
    alone = localizer.maps(model, inputs[:1], tags_of((1,)))
    model.head.classifier.weight.data[3] = -1
    steps = list(localizer.trace(model, inputs, tags))
    assert not steps[0][1:].any() and all(step.isfinite().all() for step in steps)
    if form == 'official':
        assert not steps[-1][1:].any() and steps[-1][0].any()
    model.head.classifier.weight.data[3] = 0
    nothing = localizer.maps(model, inputs, tags)
    assert not nothing[1:].any() and nothing.isfinite().all()
    assert alone.isfinite().all()


def test_an_image_without_a_gradient_stays(classifier_of, tags_of):
    model, inputs, tags = classifier_of(), torch.randn(1, 3, 24, 32), tags_of((1,))
    with torch.no_grad():
        model.head.classifier.weight.zero_()
    seen = []
    model.backbone.register_forward_hook(lambda _, x, __: seen.append(x[0].detach().clone()))
    assert not AdvCAM(steps=3).maps(model, inputs, tags).any()
    assert len(seen) == 3 and all(torch.equal(x, inputs) for x in seen)


@pytest.mark.parametrize('form', ['official', 'paper'])
@pytest.mark.parametrize('steps', [1, 4])
def test_no_tags(classifier_of, tags_of, form, steps):
    model, inputs = classifier_of(), torch.randn(4, 3, 24, 32)
    localizer = AdvCAM(steps=steps, form=form)
    trace = list(localizer.trace(model, inputs, tags_of((), (), (), ()), Views(('0', '1'), 1., True)))
    assert len(trace) == localizer.num_maps(1.) and {step.shape for step in trace} == {(0, 6, 8)}
    image = np.zeros((24, 32, 3), np.uint8)
    found, = MultiScale(localizer).class_maps(model, [image], tags_of(()))
    assert found.maps.shape == (0, 24, 32)


@pytest.mark.parametrize('form', ['official', 'paper'])
@pytest.mark.parametrize(('height', 'width'), [(1, 40), (40, 1), (1, 1), (3, 5)])
def test_tiny_images(classifier_of, tags_of, height, width, form):
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    found, = MultiScale(AdvCAM(steps=4, form=form)).class_maps(classifier_of(), [image], tags_of((0, 1)))
    assert found.maps.shape == (2, height, width) and np.isfinite(found.maps).all()
    assert found.maps.min() >= 0 and found.maps.max() <= 1


def test_settings_alone_are_sent_to_workers():
    localizer = AdvCAM(steps=8, form='paper', suppression=.5)
    assert vars(pickle.loads(pickle.dumps(localizer))) == vars(localizer)
    assert all(isinstance(value, int | float | str) for value in vars(localizer).values())
    assert (AdvCAM().step_size, localizer.step_size, AdvCAM(form='paper', step_size=.1).step_size) == (.08, .008, .1)


def test_what_is_refused():
    for options in (dict(form='both'), dict(steps=0), dict(step_size=0.), dict(regularization=-1.),
                    dict(mask_threshold=1.), dict(suppression=-.1), dict(max_pixels=0)):
        with pytest.raises(ConfigError, match=next(iter(options))):
            AdvCAM(**options)
