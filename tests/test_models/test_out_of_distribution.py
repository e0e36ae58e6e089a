"""W-OoD: distances and clusters, the metric loss, OoD images as nothing, and the objective in a training step."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from scipy.cluster.vq import kmeans2
from torch import nn

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.objectives.ood_centres import closest, distances, kmeans, ood_metric_loss
from wsss_mm.models.objectives.out_of_distribution import climb, ood_classification_loss
from wsss_mm.registry import MODELS

TOY = dict(type='wsss_mm.ToyNet', channels=(8, 8, 12))
PREPROCESSOR = dict(type='SegDataPreProcessor', mean=[120.] * 3, std=[60.] * 3, bgr_to_rgb=True)


@MODELS.register_module(force=True)
class FourStages(nn.Module):
    """The recorded network: four convolutions of stride 2."""

    def __init__(self):
        super().__init__()
        widths = (3, 8, 12, 16, 24)
        self.stages = nn.ModuleList([nn.Conv2d(i, o, 3, 2, 1) for i, o in zip(widths, widths[1:], strict=False)])

    def forward(self, x):
        for stage in self.stages:
            x = stage(x).relu()
        return (x,)


def build(head='GAPHead', backbone=TOY, channels=12, classes=3, seed=0, centres=True, **options):
    torch.manual_seed(seed)
    options = dict(dict(clusters=4, climb_step=.05), **options)
    objective = dict(type='wsss_mm.OutOfDistribution', num_classes=classes, in_channels=channels, **options)
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=backbone, objectives=[objective], data_preprocessor=PREPROCESSOR,
        head=dict(type=f'wsss_mm.{head}', num_classes=classes, in_channels=channels)))
    nn.init.normal_(model.head.classifier.weight)
    if centres:
        own = model.objectives[0]
        own.set_centres(torch.rand_like(own.centres_in.nan_to_num()), torch.rand_like(own.centres_ood.nan_to_num()))
    return model


def batch(number=3, classes=3, ood=True, side=32):
    torch.manual_seed(1)
    samples = []
    for i in range(number):
        sample = SegDataSample()
        sample.set_data(dict(gt_label=F.one_hot(torch.tensor(i % classes), classes).float()))
        if ood:
            sample.set_data(dict(ood_image=torch.randint(0, 256, (3, side, side), dtype=torch.uint8)))
        samples.append(sample)
    return torch.randn(number, 3, side, side), samples


# ---- the published step

@pytest.fixture
def published(parity):
    """The recorded step's arrays, and its network with the objective."""
    data = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in parity('wood/loss').items()}
    model = build(backbone=dict(type='wsss_mm.FourStages'), channels=24, classes=20, clusters=50, climb_step=.07,
                  ignore_classes=[4], centres=False)
    with torch.no_grad():
        for i, stage in enumerate(model.backbone.stages, 1):
            stage.weight.copy_(data[f'w{i}'])
            stage.bias.copy_(data[f'b{i}'])
        model.head.classifier.weight.copy_(data['wc'][:, :, None, None])
    model.objectives[0].set_centres(data['centres_in'], data['centres_ood'])
    samples = []
    for tags in data['label']:
        samples.append(SegDataSample())
        samples[-1].set_data(dict(gt_label=tags))
    model.objectives[0].ood_images = lambda classifier, samples: data['img_ood']
    return data, model, samples


@pytest.mark.parametrize('selected', [None, .3])
def test_distances_and_metric_loss_as_published(published, selected):
    data, _, _ = published
    features, name = data['features'], '' if selected is None else '_30'
    centres = torch.cat([data['centres_in'], data['centres_ood']])
    torch.testing.assert_close(distances(features, centres), data['dist'], rtol=1e-6, atol=1e-6)
    far, ratio = data['dist'][:, 20:], selected or .2
    kept = closest(far, ratio)
    assert kept.sum() == int(ratio * 800) and far[kept].max() < data[f'thresh{name}'] - 1e-9
    assert far[~kept].min() == pytest.approx(float(data[f'thresh{name}']), abs=1e-6)
    near, away = ood_metric_loss(features, data['label'], data['centres_in'], data['centres_ood'], ratio)
    torch.testing.assert_close(near - away, torch.tensor(float(data[f'loss_M{name}'])), rtol=1e-5, atol=1e-6)


def test_ood_images_climb_and_count_as_published(published):
    data, model, _ = published
    climbed = model.objectives[0].climbed(model, data['img_ood'])
    torch.testing.assert_close(climbed, data['img_ood_climbed'], rtol=0, atol=2e-3)   # recorded as float16
    assert not climbed.requires_grad and climbed.ne(data['img_ood']).any()
    logits = model(climbed)
    torch.testing.assert_close(logits, data['logits_ood_climbed'], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ood_classification_loss(logits, [4]), torch.tensor(float(data['loss_ood'])))
    each = torch.stack([ood_classification_loss(row[None], [4]) for row in logits])
    torch.testing.assert_close(each, data['loss_ood_each'], rtol=1e-4, atol=1e-6)
    assert (each == 0).sum() == 4


@pytest.mark.parametrize('whole', [True, False])
def test_loss_and_gradients_as_published(published, whole):
    data, model, samples = published
    if not whole:
        model.objectives[0].ood_weight = 0
    losses = model(data['img'], samples, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    torch.testing.assert_close(total.detach(), torch.tensor(float(data['loss' if whole else 'loss_noood'])))
    names = dict(grad_stage3_0_weight=(2, 'weight'), grad_stage3_0_bias=(2, 'bias'), grad_stage4_0_weight=(3, 'weight'),
                 grad_stage4_0_bias=(3, 'bias')) if whole else dict(gradnoood_stage4=(3, 'weight'))
    for name, (stage, part) in names.items():
        torch.testing.assert_close(getattr(model.backbone.stages[stage], part).grad, data[name], rtol=2e-4, atol=2e-6)
    torch.testing.assert_close(model.head.classifier.weight.grad, rtol=2e-4, atol=2e-6,
                               expected=data['grad_classifier_weight' if whole else 'gradnoood_classifier'])
    torch.testing.assert_close(losses['feature_norm'], data['features'].norm(dim=1).mean())


# ---- distances and selection

def test_gradients_of_the_metric_loss():
    torch.manual_seed(0)
    features = torch.rand(4, 5, dtype=torch.float64, requires_grad=True)
    near, far = torch.rand(3, 5, dtype=torch.float64), torch.rand(6, 5, dtype=torch.float64)
    tags = torch.tensor([[1., 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    for selection in ('batch', 'image'):
        assert torch.autograd.gradcheck(
            lambda z, s=selection: ood_metric_loss(z, tags, near, far, .4, s), features)


def test_a_feature_on_a_centre_has_a_gradient_of_0():
    features = torch.tensor([[1., 2.], [3., 4.]], requires_grad=True)
    centres = torch.tensor([[1., 2.], [0., 0.], [3., 0.]])
    found = distances(features, centres)
    torch.testing.assert_close(found.detach(), torch.tensor([[0., 0, math.sqrt(8)], [math.sqrt(8), 0, 4]]))
    assert found[0, 0] == 0 and (found[:, 1] == 0).all()   # itself; an empty cluster
    (gradient,) = torch.autograd.grad(found[:, :2].sum(), features)
    root = math.sqrt(.5)
    torch.testing.assert_close(gradient, torch.tensor([[0., 0.], [root, root]]))


def test_no_cancellation_between_near_features():
    far_off = torch.full((1, 2048), 1000.)
    torch.testing.assert_close(distances(far_off + 1, far_off), torch.tensor([[math.sqrt(2048)]]))


def test_closest_per_image_and_per_batch():
    apart = torch.tensor([[1., 2, 3, 4, 5, 6, 7, 8, 9, 10], [11., 12, 13, 14, 15, 16, 17, 18, 19, 20]])
    assert closest(apart, .2, 'image').nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert closest(apart, .2, 'batch').nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert closest(apart, 1., 'batch').all()


def test_distances_of_0_and_ties_are_not_selected():
    apart = torch.tensor([[0., 0, 1, 2, 3, 4, 5]])
    assert closest(apart, .4).nonzero()[:, 1].tolist() == [2, 3]   # of the five above 0
    assert not closest(torch.full((2, 5), 3.), .5).any()
    assert not closest(torch.zeros(2, 5), .5).any()
    assert closest(torch.tensor([[1., 2, 2, 2, 3]]), .6, 'image').tolist() == [[True, False, False, False, False]]


def test_metric_loss_by_hand_and_its_invariances():
    features, tags = torch.tensor([[0., 0.], [3., 4.]]), torch.tensor([[1., 1.], [0., 1.]])
    classes, clusters = torch.tensor([[3., 4.], [6., 8.]]), torch.tensor([[0., 1.], [0., 3.], [0., 0.], [5., 12.]])
    near, far = ood_metric_loss(features, tags, classes, clusters, ratio=.5)
    # six distances above 0: 1, 3, 13 and sqrt(18), sqrt(10), sqrt(68); those below the third largest
    assert near == pytest.approx((5 + 10 + 5) / 8) and far == pytest.approx((1 + 3 + math.sqrt(10)) / 8)
    swapped = ood_metric_loss(features.flip(0), tags.flip(0), classes, clusters.flip(0), ratio=.5)
    torch.testing.assert_close(swapped, (near, far))
    single = [ood_metric_loss(features[i:i + 1], tags[i:i + 1], classes, clusters, .5, 'image') for i in range(2)]
    both = ood_metric_loss(features, tags, classes, clusters, .5, 'image')
    torch.testing.assert_close(both, tuple((a + b) / 2 for a, b in zip(*single, strict=True)))


# ---- clusters

def test_kmeans_is_lloyds_algorithm_from_the_first_rows():
    features = np.random.default_rng(0).normal(size=(60, 5)) + np.repeat(np.eye(5) * 4, 12, 0)
    features = np.random.default_rng(1).permutation(features)
    for rounds in (1, 3, 10):
        expected, _ = kmeans2(features, features[:4].copy(), iter=rounds, minit='matrix')
        found = kmeans(torch.from_numpy(features), 4, rounds).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_empty_clusters_are_0_and_stay_so():
    rows = torch.tensor([[1., 0], [1., 0], [9., 0], [11., 0]])   # the second start is the first once more
    torch.testing.assert_close(kmeans(rows, 3), torch.tensor([[1., 0], [0., 0], [10., 0]]))
    few = kmeans(rows[2:], 4)
    torch.testing.assert_close(few, torch.tensor([[9., 0], [11., 0], [0., 0], [0., 0]]))
    near, far = ood_metric_loss(torch.tensor([[0., 1.]]), torch.ones(1, 1), rows[:1], few, ratio=.5)
    assert near > 0 and far == pytest.approx(math.hypot(9, 1) / 4)   # 2 of 4 distances count, 1 is kept


@pytest.mark.parametrize('arguments, error', [
    ((torch.zeros(0, 3), 2), DataError), ((torch.ones(4, 3), 0), ConfigError), ((torch.ones(4, 3), 2, 0), ConfigError)])
def test_nothing_to_cluster(arguments, error):
    with pytest.raises(error):
        kmeans(*arguments)


# ---- climbing and classification

def test_a_climbing_step_stays_within_the_batch():
    images, gradient = torch.tensor([[[[0., 1.]]], [[[.5, -.5]]]]), torch.tensor([[[[-4., 2.]]], [[[1., 0.]]]])
    assert climb(images, gradient, .2).flatten().tolist() == pytest.approx([-.2, 1., .55, -.5])
    torch.testing.assert_close(climb(images, torch.zeros_like(images), .2), images)


def test_climbing_raises_the_highest_logit():
    model = build(climb_step=.1, centres=False).eval()
    images = model.objectives[0].ood_images(model, batch()[1])
    with torch.no_grad():
        climbed = model.objectives[0].climbed(model, images)
        assert (model(climbed).amax(1) > model(images).amax(1)).all()
    assert (climbed - images).abs().amax() <= .1 + 1e-6
    model.objectives[0].climb_step = 0
    assert model.objectives[0].climbed(model, images) is images


def test_ood_images_of_ignored_classes_count_as_0():
    logits = torch.tensor([[2., 0.], [0., 1.]])
    first, second = (float(F.softplus(row).mean()) for row in logits)
    assert ood_classification_loss(logits) == pytest.approx((first + second) / 2)
    assert ood_classification_loss(logits, (1,)) == pytest.approx(first / 2)
    assert ood_classification_loss(logits, (0, 1)) == 0


# ---- the objective

def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}, {n: (m.training) for n, m in model.named_modules()}, \
        {n: p.requires_grad for n, p in model.named_parameters()}


@pytest.mark.parametrize('fails', [False, True])
@pytest.mark.parametrize('norm', ['eval', 'batch', 'train'])
def test_climbing_leaves_the_network_as_it_was(norm, fails):
    model = build(norm=norm).train()
    model.backbone.stem[0].weight.requires_grad_(False)
    before = state(model)
    images = torch.rand(3, 3, 32, 32)
    if fails:
        with pytest.raises(RuntimeError):
            model.objectives[0].climbed(model, images[:, :2])
    else:
        model.objectives[0].climbed(model, images)
    after = state(model)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert after[1:] == before[1:] and all(p.grad is None for p in model.parameters())


def test_statistics_learn_from_ood_images_only_where_asked_to():
    inputs, samples = batch()
    moved = {}
    for norm in ('eval', 'batch', 'train'):
        model = build(norm=norm).train()
        plain = build(ood_weight=0).train()
        model(inputs, samples, mode='loss')
        plain(inputs, samples, mode='loss')
        moved[norm] = not torch.equal(model.backbone.layer3[0].bn2.running_mean,
                                      plain.backbone.layer3[0].bn2.running_mean)
    assert moved == dict(eval=False, batch=False, train=True)


@pytest.mark.parametrize('head', ['GAPHead', 'GMPHead', 'HSPPHead', 'GPPHead'])
def test_any_head_learns_and_its_ood_logits_fall(head):
    torch.manual_seed(0)
    model = build(head, ood_weight=1.).train()
    inputs, samples = batch()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    found = []
    for _ in range(12):
        losses = model(inputs, samples, mode='loss')
        found.append(losses['loss_ood_cls'].item())
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    assert set(losses) == {'loss_cls', 'loss_ood_metric', 'loss_ood_cls', 'feature_norm'}
    assert found[-1] < .8 * found[0]


@pytest.mark.parametrize('terms, sign', [('in', 1), ('ood', -1)])
def test_metric_terms_pull_to_the_classes_or_push_from_ood(terms, sign):
    inputs, samples = batch()
    parts = {t: build(metric_terms=t, metric_weight=.5).eval()(inputs, samples, mode='loss')['loss_ood_metric']
             for t in ('both', 'in', 'ood')}
    torch.testing.assert_close(parts['both'], parts['in'] + parts['ood'])
    assert sign * parts[terms] > 0


def test_without_a_weight_its_needs_go():
    inputs, samples = batch(ood=False)
    assert set(build(ood_weight=0)(inputs, samples, mode='loss')) == {'loss_cls', 'loss_ood_metric', 'feature_norm'}
    inputs, samples = batch()
    model = build(metric_weight=0, centres=False)
    assert set(model(inputs, samples, mode='loss')) == {'loss_cls', 'loss_ood_cls', 'feature_norm'}
    assert not model.objectives[0].ready


def test_centres_are_saved_and_do_not_move():
    model = build()
    other = build(seed=1, centres=False)
    assert not other.objectives[0].ready
    other.load_state_dict(model.state_dict())
    assert other.objectives[0].ready
    torch.testing.assert_close(other.objectives[0].centres_ood, model.objectives[0].centres_ood, rtol=0, atol=0)
    before = model.objectives[0].centres_in.clone()
    inputs, samples = batch()
    optimizer = torch.optim.SGD(model.parameters(), .1)
    model.parse_losses(model(inputs, samples, mode='loss'))[0].backward()
    optimizer.step()
    assert torch.equal(model.objectives[0].centres_in, before)


def test_what_is_missing_is_named():
    inputs, samples = batch()
    with pytest.raises(ConfigError, match='centres .* have not been computed') as raised:
        build(centres=False)(inputs, samples, mode='loss')
    assert 'OoDCentresHook' in raised.value.fix
    with pytest.raises(ConfigError, match='no `ood_image`') as raised:
        build()(*batch(ood=False), mode='loss')
    assert 'WithOoDImages' in raised.value.fix
    samples[1].set_data(dict(ood_image=samples[1].ood_image[:, :16]))
    with pytest.raises(ConfigError, match=r'\(16, 32\), \(32, 32\)'):
        build()(inputs, samples, mode='loss')
    with pytest.raises(ConfigError, match='centres_in of shape'):
        build().objectives[0].set_centres(torch.zeros(3, 5), torch.zeros(4, 12))
    with pytest.raises(ConfigError, match='centres_ood of shape'):
        build().objectives[0].set_centres(torch.zeros(3, 12), torch.full((4, 12), torch.inf))


@pytest.mark.parametrize('options', [
    dict(selection='images'), dict(norm='frozen'), dict(metric_terms='none'), dict(clusters=0), dict(ratio=0.),
    dict(ratio=20), dict(climb_step=-.1), dict(ignore_classes=[3]), dict(metric_weight=0, ood_weight=0)])
def test_bad_options(options):
    with pytest.raises(ConfigError):
        build(centres=False, **options)


def test_ood_images_are_normalised_as_the_images_are():
    model = build()
    _, samples = batch()
    found = model.objectives[0].ood_images(model, samples)
    expected = torch.stack([(s.ood_image.flip(0).float() - 120) / 60 for s in samples])
    torch.testing.assert_close(found, expected)
