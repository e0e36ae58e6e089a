"""RIB: the published numbers, its stops, and what it must leave as it was."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.localization import CAM, RIB, MultiScale
from wsss_mm.localization.rib import covered, gndrp, rib_loss
from wsss_mm.registry import MODELS, TASK_UTILS

close = torch.testing.assert_close
LAYERS = ('backbone.layer2', 'backbone.layer3', 'head')


# ---------------------------------------------------------------- the published numbers

class Stages(nn.Module):
    """The four convolutions of the fixture."""

    def __init__(self, data):
        super().__init__()
        for i in range(1, 5):
            weight = data[f'w{i}']
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1)
            conv.weight.data, conv.bias.data = weight.clone(), data[f'b{i}'].clone()
            self.add_module(f'stage{i}', nn.Sequential(conv, nn.ReLU(inplace=True)))

    def forward(self, x):
        return (self.stage4(self.stage3(self.stage2(self.stage1(x)))),)


class Recorded(RIB):
    """Keeps the logits and labels of the losses and the weights after every update."""

    def raw_maps(self, *args, **options):
        self.logits, self.labels, self.weights = [], [], []
        return super().raw_maps(*args, **options)

    def _pooled(self, class_maps, tags):
        self.logits.append(super()._pooled(class_maps, tags))
        self.labels.append(tags)
        return self.logits[-1]

    def _update(self, model, adapted, *args):
        super()._update(model, adapted, *args)
        self.weights.append({name: copy.detach().clone() for name, copy in adapted.copies.items()})


class Given:
    """Other images that are given, in the place of drawn ones."""

    def __init__(self, *batches):
        self.given = batches

    def batches(self, model, image_id, tags, batches):
        return iter(self.given[:batches])


@pytest.fixture
def published(parity, classifier_of):
    """The fixture, its classifier, and RIB with its settings."""
    data = parity('rib/gndrp_full')
    model = classifier_of()
    model.backbone = Stages(data)
    model.head = MODELS.build(Config(dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=24)))
    model.head.classifier.weight.data = data['wc'][:, :, None, None].clone()
    rib = Recorded(MultiScale(CAM()), steps=6, lr=2e-3, trained=('backbone.stage3', 'backbone.stage4', 'head'),
                   stop_logit=None, stop_area=None)
    rib.others = Given(*zip(data['aux_images'].float(), data['aux_labels'], strict=True))
    return data, model.eval(), rib


def test_parity_of_gndrp(parity):
    data = parity('rib/gndrp_pooling')
    maps = data['x'].requires_grad_()
    tags = torch.zeros(5, 20).index_fill(1, data['classes'], 1)
    pooled = gndrp(maps, tags)
    close(pooled, data['pooled'])
    close(torch.autograd.grad(pooled.sum(), maps)[0], data['grad'])
    close(gndrp(maps, data['row_labels']), data['pooled_rowlabels'])


def test_parity_of_the_maps(published):
    data, model, rib = published
    image, tags = data['image'].numpy(), data['label'] > 0
    raw, = rib.raw_maps(model, [image], tags[None])
    for i, maps in enumerate(raw):
        close(maps[:, 0] + maps[:, 1].flip(2), data[f'sum_scale{i}'][data['keys']], rtol=1e-5, atol=1e-3)
    assert len(rib.weights) == 5       # of six updates, the last has no influence on the maps
    found, = rib.class_maps(model, [image], tags[None])
    np.testing.assert_allclose(found.maps, data['high_res'], atol=1e-5)
    assert (found.class_ids == data['keys'].numpy() + 1).all()


def test_parity_of_logits_losses_and_weights(published):
    data, model, rib = published
    rib.map_steps = frozenset(range(7))     # one set of weights more, at the published rates
    rib.raw_maps(model, [data['image'].numpy()], data['label'][None] > 0)
    for step in range(6):
        # rows: the image at three scales, then the other images
        logits, labels = (torch.cat(rows[4 * step:4 * step + 4]) for rows in (rib.logits, rib.labels))
        close(labels, data['labels'][step])
        close(logits, data['logits'][step], rtol=1e-4, atol=1e-4)
        close(rib_loss(logits, labels).double(), data['loss'][step], rtol=1e-4, atol=1e-4)
        close((logits * labels)[:6].sum().abs().double(), data['target_loss'][step].abs(), rtol=1e-4, atol=1e-4)
    names = dict(stage3_0_weight='backbone.stage3.0.weight', stage3_0_bias='backbone.stage3.0.bias',
                 stage4_0_weight='backbone.stage4.0.weight', stage4_0_bias='backbone.stage4.0.bias',
                 classifier_weight='head.classifier.weight')
    for when, weights in dict(step1=rib.weights[0], final=rib.weights[5]).items():
        compared = {name: own for name, own in names.items() if f'{when}_{name}' in data}
        assert len(compared) >= 3
        for name, own in compared.items():
            close(weights[own], data[f'{when}_{name}'], rtol=1e-5, atol=1e-6)
            assert (weights[own] - dict(model.named_parameters())[own]).abs().max() > 1e-4


# ---------------------------------------------------------------- the maths

def test_gndrp_by_hand():
    maps = torch.tensor([[[[10., 3.9, 4.], [-2., 0., 1.]], [[10., 3.9, 4.], [-2., 0., 1.]]]])
    tags = torch.tensor([[1., 0.]])
    close(gndrp(maps, tags, .4), torch.tensor([[2.9 / 6, 16.9 / 6]]))      # 4 is not below .4 of 10
    close(gndrp(maps, tags, .4, 'kept'), torch.tensor([[2.9 / 4, 16.9 / 6]]))
    # at a maximum of 0 the published quotients are -inf and nan
    flat = torch.tensor([[[[0., -1.], [-3., 0.]], [[0., 0.], [0., 0.]], [[-1., -2.], [-3., -4.]]]])
    for divisor, expected in dict(all=[-1., 0., 0.], kept=[-2., 0., 0.]).items():
        close(gndrp(flat, torch.ones(1, 3), divisor=divisor), torch.tensor([expected]))


def test_gndrp_is_the_published_loop():
    maps = torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    tags = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]])
    expected = torch.stack([torch.stack([
        m[m / m.max() < .4].sum() / m.numel() if t else m.mean() for m, t in zip(*row, strict=True)])
        for row in zip(maps, tags, strict=True)])
    close(gndrp(maps, tags), expected)


@pytest.mark.parametrize('divisor', ['all', 'kept'])
def test_gndrp_gradients(divisor):
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    tags = torch.tensor([[1, 0, 1], [0, 1, 0]])
    # beyond .4 of the maximum there is no gradient, so a difference does not move the maximum either
    assert torch.autograd.gradcheck(lambda x: gndrp(x, tags, divisor=divisor), maps)
    gradient, = torch.autograd.grad(gndrp(maps, tags, divisor=divisor).sum(), maps)
    assert not gradient[0, 0].flatten()[maps[0, 0].argmax()] and gradient[0, 1].all()


def test_loss_by_hand():
    logits = torch.tensor([[3., -2.], [700., 1.]], requires_grad=True)
    tags = torch.tensor([[1., 1.], [1., 0.]])
    assert rib_loss(logits, tags) == -701 and rib_loss(logits, tags, 600.) == -601
    gradient, = torch.autograd.grad(rib_loss(logits, tags, 600.), logits)
    assert gradient.tolist() == [[-1., -1.], [0., 0.]]


def test_coverage_by_hand():
    plain = torch.tensor([[[10., 1.], [-5., 4.]], [[0., 0.], [0., -1.]]])
    mirrored = torch.tensor([[[1., 0.], [-5., 9.]], [[0., 0.], [0., 0.]]])    # seen back: [[0, 1], [9, -5]]
    assert covered(torch.stack([plain, mirrored]), .3) == .75       # 10, 2, 9, 4 of 10: above .3 all but 2
    assert covered(torch.stack([plain, mirrored]), .1) == 1
    assert covered(torch.stack([plain, mirrored])[:, 1:]) == 0


# ---------------------------------------------------------------- steps and stops

@pytest.fixture
def image():
    smooth = nn.functional.interpolate(torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(2)), (36, 44),
                                       mode='bilinear')[0]
    return (255 * smooth).byte().permute(1, 2, 0).contiguous().numpy()


@pytest.fixture
def others():
    """Three batches of normalised images of classes 2 to 5."""
    generator = torch.Generator().manual_seed(3)
    return Given(*[(torch.randn(4, 3, 24, 24, generator=generator), torch.eye(6)[2:]) for _ in range(9)])


def adapted(others=None, kind=Recorded, localizer=None, **options):
    """RIB on a small net, four steps, no stops unless given."""
    settings = dict(steps=4, lr=2e-3, trained=LAYERS, target_scales=(1., 1.5), stop_logit=None, stop_area=None)
    rib = kind(localizer or MultiScale(CAM(), scales=(.5, 1.)), **{**settings, **options})
    if others is not None:
        rib.others = others
    return rib


def steps_of(rib, model, image, tags):
    rib.logits, rib.labels, rib.weights = [], [], []
    return list(rib.trace(model, image, tags[0]))


def same(a, b, **options):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        close(x, y, **(options or dict(rtol=0, atol=0)))


def test_every_step_adds_its_maps_and_raises_the_scores(classifier_of, tags_of, image, others):
    model, tags, rib = classifier_of(), tags_of((0, 1)), adapted(others)
    found = steps_of(rib, model, image, tags)
    assert len(found) == 4 and len(rib.weights) == 3
    with torch.no_grad():       # as callers have it
        same(rib.raw_maps(model, [image], tags)[0], found[-1])
    plain = rib.localizer.raw_maps(model, [image], tags)[0]
    same(found[0], [maps.relu() for maps in plain])
    weights = model.state_dict()
    for step, copies in enumerate(rib.weights):
        model.load_state_dict(weights | copies)
        later = [maps.relu() for maps in rib.localizer.raw_maps(model, [image], tags)[0]]
        same(found[step + 1], [a + b for a, b in zip(found[step], later, strict=True)], rtol=1e-5, atol=1e-4)
        assert all(b.sum() > a.relu().sum() for a, b in zip(plain, later, strict=True))


def test_the_sum_of_the_logits_ends_it(classifier_of, tags_of, image, others):
    model, tags, rib = classifier_of(), tags_of((0, 1)), adapted(others)
    free = steps_of(rib, model, image, tags)
    # of each step: two target scales, and the other images
    sums = [sum((rib.logits[3 * k + s] * rib.labels[3 * k + s]).sum() for s in (0, 1)).item() for k in range(3)]
    assert sums[0] < sums[1] < sums[2]
    for limit, steps in (((sums[0] + sums[1]) / 2, 2), (sums[0] - .01, 1), (sums[2] + .01, 4)):
        rib.stop_logit = limit
        found = steps_of(rib, model, image, tags)
        same(found[-1], free[steps - 1])
        assert len(found) == steps and len(rib.weights) == steps - 1    # the update after the stop is left out


@pytest.mark.parametrize('even', [False, True])
def test_the_area_ends_it(classifier_of, tags_of, image, others, even):
    model, tags = classifier_of(), tags_of((0, 1))
    rib = adapted(others, even_scales=even)
    free = steps_of(rib, model, image, tags)
    rib.stop_area = 0.      # exceeded at once, but not asked for in the first step
    found = steps_of(rib, model, image, tags)
    assert len(found) == 2 and len(rib.weights) == 1
    same(found[0], free[0])
    # scale 1 is the second one here; as published it has a map more than the other
    same(found[1], free[0] if even else [free[0][0], free[1][1]])
    rib.stop_area = 1.
    same(steps_of(rib, model, image, tags)[-1], free[-1])


def test_the_area_is_that_of_the_step_at_scale_1(classifier_of, tags_of, image, others, monkeypatch):
    model, tags, rib = classifier_of(), tags_of((0, 1)), adapted(others, target_scales=(1.5, 1.), stop_area=.5)
    seen = []

    def measured(maps, ratio):
        seen.append(maps)
        return covered(maps, ratio)

    monkeypatch.setattr('wsss_mm.localization.rib.covered', measured)
    found = steps_of(rib, model, image, tags)
    assert len(seen) == len(found) - 1
    for k, maps in enumerate(seen, 1):
        own = maps.relu().transpose(0, 1)
        if k < len(found) - 1 or covered(maps, .3) <= .5:
            close(found[k][1], found[k - 1][1] + own)


def test_a_margin_beyond_takes_the_gradient(classifier_of, tags_of, image, others):
    model, tags = classifier_of(), tags_of((0, 1))
    rib = adapted(others, margin=-1e9, weight_decay=0.)
    found = steps_of(rib, model, image, tags)
    same(found[-1], [4 * maps for maps in found[0]], rtol=1e-6, atol=1e-6)


def test_pooling_and_classes_of_gndrp(classifier_of, tags_of, image):
    """Without GNDRP for the first classes alone, they are pooled plainly."""
    model, tags = classifier_of(), tags_of((1, 3))
    ways = {name: steps_of(adapted(**options), model, image, tags)[-1] for name, options in dict(
        gndrp={}, gap=dict(pooling='gap'), none=dict(gndrp_classes=0), half=dict(gndrp_classes=3),
        all=dict(gndrp_classes=6), text=dict(divisor='kept')).items()}
    same(ways['gap'], ways['none'], rtol=1e-5, atol=1e-4)
    same(ways['gndrp'], ways['all'])
    for name in ('gap', 'half', 'text'):
        assert any((a - b).abs().max() > 1e-3 for a, b in zip(ways[name], ways['gndrp'], strict=True))


def test_steps_may_weigh_alike(classifier_of, tags_of, image):
    model, tags, rib = classifier_of(), tags_of((0, 1)), adapted(normalize_steps=True)
    found = steps_of(rib, model, image, tags)
    for step, maps in enumerate(found, 1):
        top = torch.stack([scale.amax((1, 2, 3)) for scale in maps]).amax(0)
        assert (top <= step).all() and (top > .8 * step).all()


def test_maps_of_chosen_steps(classifier_of, tags_of, image, others):
    model, tags = classifier_of(), tags_of((0, 1))
    free = steps_of(adapted(others), model, image, tags)
    chosen = adapted(others, map_steps=(0, 2))
    found = steps_of(chosen, model, image, tags)
    assert len(found) == 3 and len(chosen.weights) == 2       # nothing is needed beyond
    same(found[-1], [a + c - b for a, b, c in zip(*free[:3], strict=True)], rtol=1e-5, atol=1e-4)
    last = adapted(others, map_steps=(3,))
    same(steps_of(last, model, image, tags)[0], [b - a for a, b in zip(*free[2:], strict=True)], rtol=1e-4, atol=1e-4)
    last.stop_area = 0.     # ends at the second step
    same(steps_of(last, model, image, tags)[0], [b - a for a, b in zip(*free[:2], strict=True)], rtol=1e-4, atol=1e-4)


def test_one_step_is_the_localizer_itself(classifier_of, tags_of, image):
    model, tags = classifier_of(), tags_of((0, 1))
    rib = adapted(steps=1)
    one, = rib.class_maps(model, [image], tags, ['a'])
    plain, = rib.localizer.class_maps(model, [image], tags, ['a'])
    np.testing.assert_array_equal(one.maps, plain.maps)


def test_what_is_not_finite_ends_it(classifier_of, tags_of, image, others):
    model, tags, rib = classifier_of(), tags_of((0, 1)), adapted(others, lr=1e30)
    found = steps_of(rib, model, image, tags)
    same(found[-1], found[0])
    assert all(maps.isfinite().all() for maps in found[-1])
    late = adapted(others, lr=1e30, map_steps=(3,))
    same(steps_of(late, model, image, tags)[-1], found[0])      # those of the weights that it began with


# ---------------------------------------------------------------- invariances

def test_images_do_not_see_each_other(classifier_of, tags_of, image, others):
    model, rib = classifier_of(), adapted(others)
    images, tags = [image, image[::-1].copy(), image[:, ::-1].copy()], tags_of((0, 1), (), (3,))
    together = rib.raw_maps(model, images, tags)
    for i in (2, 0, 1):
        same(together[i], rib.raw_maps(model, images[i:i + 1], tags[i:i + 1])[0])
    assert [len(maps[0]) for maps in together] == [2, 0, 1]


def test_the_mirror_image_has_mirrored_maps(classifier_of, tags_of, image, others):
    model, tags = classifier_of(), tags_of((0, 1))
    rib = adapted(others, localizer=MultiScale(CAM(), scales=(.5, 1.), align16=False))
    maps, = rib.class_maps(model, [image], tags)
    mirrored, = rib.class_maps(model, [image[:, ::-1].copy()], tags)
    np.testing.assert_allclose(mirrored.maps, maps.maps[:, :, ::-1], atol=1e-3)


# ---------------------------------------------------------------- wrong use

def test_other_images_of_other_classes(classifier_of, tags_of, image):
    rib = adapted(Given((torch.zeros(1, 3, 24, 24), torch.zeros(1, 4))))
    with pytest.raises(ConfigError, match='tags of 4 classes, the classifier has 6'):
        rib.raw_maps(classifier_of(), [image], tags_of((0, 1)))


@pytest.mark.parametrize('options', [
    dict(steps=0), dict(lr=0.), dict(auxiliary=-1), dict(trained=()), dict(target_scales=()),
    dict(target_scales=(1., 0.)), dict(pooling='max'), dict(ratio=0.), dict(divisor='some'), dict(map_steps=(10,)),
    dict(map_steps=()), dict(localizer=dict(type='wsss_mm.CAM'))])
def test_settings_are_checked(options):
    with pytest.raises(ConfigError, match=f'RIB: {next(iter(options))}'):
        RIB(**{'localizer': MultiScale(CAM()), **options})


def test_it_is_sent_as_settings(classifier_of, tags_of, image):
    built = TASK_UTILS.build(dict(type='wsss_mm.RIB', localizer=dict(
        type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1.,)), trained=LAYERS))
    before, = built.class_maps(classifier_of(), [image], tags_of((0, 1)))
    assert len(pickle.dumps(built)) < 2000
    again = pickle.loads(pickle.dumps(built))
    after, = again.class_maps(classifier_of(), [image], tags_of((0, 1)))
    np.testing.assert_array_equal(before.maps, after.maps)
