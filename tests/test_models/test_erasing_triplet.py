"""AEFT's objective: a step of the published network, the paper's form, its options, and what it does without pairs."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.objectives import ErasingTriplet, erasing_triplet
from wsss_mm.models.objectives.triplet import embed, erasing_mask, min_max_norm, scale_by_peak
from wsss_mm.registry import MODELS

PAPER = dict(attract_weight=.15, rectify=False, own_classes=False, normalize='vector', attract_distance='mse',
             repel_distance='mse', hard_only=False)
DISJOINT = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]


def tagged(tags):
    samples = [SegDataSample() for _ in tags]
    for sample, tag in zip(samples, tags, strict=True):
        sample.set_data(dict(gt_label=torch.as_tensor(tag, dtype=torch.float32)))
    return samples


def toy(head='GAPHead', **options):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 8, 12)),
        head=dict(type=f'wsss_mm.{head}', num_classes=3, in_channels=12),
        objectives=[dict(type='wsss_mm.ErasingTriplet', **dict(dict(min_hard=0), **options))]))
    nn.init.normal_(model.head.classifier.weight, std=.3)
    return model


def images(n=4, side=32):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


class PublishedNet(nn.Module):
    """The fixture's network up to the class layer; ``conv1a`` and ``fc8`` are its names."""

    def __init__(self):
        super().__init__()
        self.conv1a, self.fc8 = nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.Conv2d(12, 16, 1, bias=False)

    def forward(self, x):
        return (F.relu(self.fc8(F.relu(self.conv1a(x)))),)


def test_a_step_of_the_published_network(parity, monkeypatch):
    f = parity('aeft/aeft_step_stage2')
    MODELS.register_module(module=PublishedNet, force=True)
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.PublishedNet'),
        head=dict(type='wsss_mm.GPPHead', num_classes=20, in_channels=16, loss_images=8),
        objectives=[dict(type='wsss_mm.ErasingTriplet')]))
    parameters = dict(conv1a=model.backbone.conv1a.weight, fc8=model.backbone.fc8.weight,
                      fc9=model.head.classifier.weight)
    for n, (alpha, beta) in enumerate(zip(model.head.alpha.parameters(), model.head.beta.parameters(), strict=True), 1):
        parameters[f'gconv{n}.att_p.0'], parameters[f'gconv{n}.att_n.0'] = alpha, beta
    for name, parameter in parameters.items():
        parameter.data = f[f'param.{name}.weight']
    drawn = f['n_idx'], torch.ones(10, dtype=torch.bool)
    monkeypatch.setattr(erasing_triplet, 'sample_negatives', lambda tags: drawn)

    losses = model(f['img'], tagged(f['label']), mode='loss')
    for name, published in (('loss_cls', 'loss_cls_weighted'), ('loss_attract', 'loss_attract_weighted'),
                            ('loss_repel', 'loss_repulse_weighted')):
        torch.testing.assert_close(losses[name], torch.tensor(f[published].item()), rtol=1e-5, atol=1e-7)
    assert losses['hard_triplets'] == 10
    model.parse_losses(losses)[0].backward()
    assert len(parameters) == len(list(model.parameters()))
    for name, parameter in parameters.items():
        expected = f[f'grad.{name}.weight']
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())


def test_the_papers_form_of_the_objective(parity):
    f, p = parity('aeft/aeft_step_stage2'), parity('aeft/paper_equations')
    objective = ErasingTriplet(**PAPER)
    repel, hard = objective.repel(f['cam'], f['gpp'], f['label'], p['n_idx'], torch.ones(10, dtype=torch.bool))
    assert repel.item() == pytest.approx(.15 * p['repel_mse_l2'].item(), rel=1e-5) and hard == 10

    class Head:
        def class_maps(self, feats):
            return feats

        def pooled_maps(self, maps):
            return maps
    attract = objective.attract(Head(), f['gpp'], f['gpp_masked'], f['label'])['loss_attract']
    assert attract.item() == pytest.approx(.15 * p['attract_mse_l2'].item(), rel=1e-5)


@pytest.mark.parametrize('tags', [DISJOINT, [[0, 0, 0]] * 4, [[1, 1, 0]] * 4, [[1, 0, 0], [0] * 3, [0, 1, 0], [0] * 3]])
@pytest.mark.parametrize('head', ['GAPHead', 'GPPHead'])
def test_any_tags_give_a_finite_gradient(head, tags):
    model = toy(head)
    losses = model(images(), tagged(tags), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    if tags != DISJOINT and tags[1] == tags[3] == tags[0]:
        assert losses['loss_repel'] == 0 and losses['loss_repel'].requires_grad
    if not any(map(any, tags)):
        assert losses['loss_attract'] == 0
    if tags == DISJOINT:
        assert losses['loss_repel'] > 0 and losses['loss_attract'] > 0


def test_that_no_pair_exists_is_said_once(monkeypatch):
    said = []
    monkeypatch.setattr(erasing_triplet, 'print_log', lambda message, **_: said.append(message))
    model = toy()
    model(images(), tagged(DISJOINT), mode='loss')
    assert not said
    for _ in range(3):
        model(images(), tagged([[1, 0, 0]] * 4), mode='loss')
    assert len(said) == 1 and 'repelling is 0' in said[0]


def passes(model):
    """Count the images that the backbone sees."""
    seen = []
    model.backbone.register_forward_hook(lambda module, args, out: seen.append(args[0].detach()))
    return seen


@pytest.mark.parametrize('weights, keys, runs', [
    (dict(), ['loss_repel', 'hard_triplets', 'loss_attract'], 2),
    (dict(attract_weight=0.), ['loss_repel', 'hard_triplets'], 1),
    (dict(repel_weight=0.), ['loss_attract'], 2),
    (dict(repel_weight=0., masked='rigid'), ['loss_erased'], 2)])
def test_each_loss_works_alone(weights, keys, runs):
    model = toy(**weights)
    seen = passes(model)
    losses = model(images(), tagged(DISJOINT), mode='loss')
    assert list(losses) == ['loss_cls', *keys] and len(seen) == runs
    model.parse_losses(losses)[0].backward()
    assert model.backbone.stem[0].weight.grad.abs().sum() > 0


def test_the_second_pass_sees_the_erased_images_and_leaves_batch_norm_alone():
    model, batch, samples = toy(), images(), tagged(DISJOINT)
    seen = passes(model)
    model(batch, samples, mode='loss')
    expected = batch * erasing_mask(model.head.class_maps(model.extract_feat(batch)), torch.tensor(DISJOINT), (32, 32))
    torch.testing.assert_close(seen[1], expected)
    assert int(model.backbone.stem[1].num_batches_tracked) == 2  # the two passes of plain images
    assert model.backbone.stem[1].training


def test_rigid_is_the_image_level_loss_of_the_erased_images():
    model, batch = toy(masked='rigid', attract_weight=.3).eval(), images()
    tags = torch.tensor(DISJOINT)
    losses = model(batch, tagged(DISJOINT), mode='loss')
    logits = model(batch * erasing_mask(model.class_maps(batch), tags, (32, 32)))
    torch.testing.assert_close(losses['loss_erased'], .3 * F.multilabel_soft_margin_loss(logits, tags.float()))


def gradient(**options):
    model = toy('GPPHead', **options)
    losses = model(images(), tagged(DISJOINT), mode='loss')
    value = sum(v for k, v in losses.items() if k in ('loss_attract', 'loss_repel'))
    value.backward()
    return value.item(), model.head.classifier.weight.grad


def test_the_mask_passes_gradients_unless_detached():
    (value, attached), (same, detached) = (gradient(repel_weight=0., detach_mask=d) for d in (False, True))
    assert value == same
    assert (attached - detached).abs().max() > .01 * attached.abs().max()


@pytest.mark.parametrize('options', [
    dict(embedding='cam'), dict(anchor_region='full', attract_weight=0.), dict(normalize='none', attract_weight=0.),
    dict(normalize='vector'), dict(rectify=False), dict(own_classes=False), dict(attract_distance='l2'),
    dict(repel_distance='mse'), PAPER])
def test_options_change_the_loss(options):
    torch.manual_seed(0)
    plain = {k: v for k, v in options.items() if 'weight' in k}
    assert gradient(**options)[0] != pytest.approx(gradient(**plain)[0], rel=1e-3)


def test_direct_embeds_the_class_maps_themselves():
    head = MODELS.build(dict(type='wsss_mm.GPPHead', num_classes=3, in_channels=12))
    maps = torch.randn(2, 3, 8, 8)
    assert ErasingTriplet(embedding='cam').pooled(head, maps) is maps
    torch.testing.assert_close(ErasingTriplet().pooled(head, maps), head.pooled_maps(maps))


def test_nothing_happens_before_begin():
    model, hub = toy(begin=5), MessageHub.get_current_instance()
    before = hub.get_info('iter')
    try:
        hub.update_info('iter', 4)
        assert list(model(images(), tagged(DISJOINT), mode='loss')) == ['loss_cls']
        hub.update_info('iter', 5)
        assert 'loss_attract' in model(images(), tagged(DISJOINT), mode='loss')
    finally:
        hub.update_info('iter', before)


def test_under_autocast_the_losses_stay_in_float32():
    model = toy('GPPHead').eval()
    full = model(images(), tagged(DISJOINT[:3] + [[0, 0, 1]]), mode='loss')
    torch.manual_seed(0)
    with torch.autocast('cpu', torch.bfloat16):
        half = model(images(), tagged(DISJOINT[:3] + [[0, 0, 1]]), mode='loss')
    for name in ('loss_attract', 'loss_repel'):
        assert half[name].dtype == torch.float32 and half[name].isfinite()
    torch.testing.assert_close(half['loss_attract'], full['loss_attract'], rtol=.2, atol=2e-3)
    maps = torch.linspace(0, 1, 9).view(1, 1, 3, 3).bfloat16()
    assert min_max_norm(maps).dtype == scale_by_peak(maps).dtype == embed(maps).dtype == torch.float32


@pytest.mark.parametrize('head', ['GAPHead', 'GPPHead'])
def test_training_steps_learn_the_tags_beside_the_triplet(head):
    model = toy(head)
    optim = OptimWrapper(torch.optim.Adam(model.parameters(), 3e-3))
    logs = [model.train_step(dict(inputs=images(), data_samples=tagged(DISJOINT)), optim) for _ in range(25)]
    assert logs[-1]['loss_cls'] < .7 * logs[0]['loss_cls']
    assert logs[-1]['loss'] < logs[0]['loss']
    assert all(log['loss'].isfinite() for log in logs)


@pytest.mark.parametrize('options, message', [
    (dict(masked='hard'), "masked='hard'.*\n.*'soft' or 'rigid'"), (dict(embedding='feature'), 'embedding'),
    (dict(anchor_region='high'), 'anchor_region'), (dict(normalize='l2'), "'peak' or 'vector' or 'none'"),
    (dict(attract_distance='cosine'), 'attract_distance'), (dict(norm='frozen'), 'norm'),
    (dict(attract_weight=0, repel_weight=0), 'both 0')])
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        ErasingTriplet(**options)


def test_tags_are_needed():
    model = toy()
    with pytest.raises(ConfigError, match='gt_label'):
        model.objectives[0].loss(model, images(), model.extract_feat(images()), [SegDataSample()] * 4)
