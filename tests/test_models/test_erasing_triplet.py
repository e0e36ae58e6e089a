"""AEFT's erasing triplet: parity with the published step, the paper's forms, behaviour where something is missing."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.models.objectives import ErasingTriplet, erasing_triplet, triplet
from wsss_mm.models.objectives.triplet import (
    attract_loss,
    distances,
    embed,
    erasing_mask,
    low_confidence,
    min_max_norm,
    repel_loss,
    sample_negatives,
    scale_by_peak,
)
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


def test_masks_embeddings_and_losses_are_the_published_ones(parity):
    f = parity('aeft/aeft_step_stage2')
    tags = f['label']
    torch.testing.assert_close(erasing_mask(f['cam'], tags, (40, 40)), f['mask_pos'])
    foreground = erasing_mask(f['cam'], tags, (40, 40), t_high=2)
    torch.testing.assert_close(foreground, f['cam_fg_from_highres'])
    torch.testing.assert_close(min_max_norm(F.relu(f['cam'])) * tags[:, :, None, None], f['cam_n'])
    low = low_confidence(f['cam'], tags)
    assert (low == f['mask_anchor_bg'].bool()).all()
    torch.testing.assert_close(scale_by_peak(f['gpp']), f['feat_norm'])

    anchor, positive = embed(F.relu(f['gpp']), tags=tags), embed(F.relu(f['gpp_masked']), tags=tags)
    torch.testing.assert_close(anchor, f['anchor'])
    torch.testing.assert_close(positive, f['positive'])
    unsure, whole = embed(f['feat_norm'], low, tags), embed(f['feat_norm'], tags=tags)
    torch.testing.assert_close(unsure, f['e_AL_all'])
    torch.testing.assert_close(whole, f['e_N_all_before_pairing'])

    negative = whole[f['n_idx']]
    torch.testing.assert_close(distances(unsure, negative, 'l2'), f['distance_negative_pos'])
    loss, hard = repel_loss(unsure, negative, torch.ones(10, dtype=torch.bool))
    assert hard.nonzero()[:, 0].tolist() == f['hard_triplets_pos'].tolist()
    torch.testing.assert_close(unsure[hard], f['e_AL_hard'])
    torch.testing.assert_close(negative[hard], f['e_N_hard'])
    torch.testing.assert_close(.15 * loss, torch.tensor(f['loss_repulse_weighted'].item()))
    torch.testing.assert_close(.2 * attract_loss(anchor, positive), torch.tensor(f['loss_attract_weighted'].item()))


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


def test_the_papers_equations(parity):
    """Eq. (8)-(10) literally, of the class maps and pooled maps of the other fixture."""
    f, p = parity('aeft/aeft_step_stage2'), parity('aeft/paper_equations')
    pooled, erased, index = f['gpp'].double(), f['gpp_masked'].double(), p['n_idx']
    low = low_confidence(f['cam'], f['label'])
    for unit, name in ((False, 'raw'), (True, 'l2')):
        e_a, e_p, e_al = embed(pooled, unit=unit), embed(erased, unit=unit), embed(pooled, low, unit=unit)
        if not unit:
            for mine, key in ((e_a, 'e_A'), (e_p, 'e_P'), (e_al, 'e_AL'), (e_a[index], 'e_N')):
                torch.testing.assert_close(mine, p[key])
        for distance, key in (('l2', 'sum'), ('mse', 'mse')):
            repelled, _ = repel_loss(e_al, e_a[index], torch.ones(10, dtype=torch.bool), distance=distance,
                                     hard_only=False)
            assert attract_loss(e_a, e_p, distance).item() == pytest.approx(p[f'attract_{key}_{name}'].item())
            assert repelled.item() == pytest.approx(p[f'repel_{key}_{name}'].item())


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


def test_negatives_share_no_class_and_every_such_image_is_drawn(parity):
    f = parity('aeft/neg_sampling')
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(8, 8)
    for _ in range(1500):
        index, valid = sample_negatives(f['labels'], generator)
        assert valid.all()
        counts[torch.arange(8), index] += 1
    allowed = f['allowed'] if f['allowed'].dtype == torch.bool else f['allowed'].bool()
    assert ((counts > 0) == allowed).all()
    share = counts / 1500 * allowed.sum(1, keepdim=True)
    assert (share[allowed] - 1).abs().max() < .25  # 4 standard deviations of the rarest


def test_images_without_a_negative_and_without_tags_take_no_part():
    tags = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
    for seed in range(20):
        index, valid = sample_negatives(tags, torch.Generator().manual_seed(seed))
        assert valid.tolist() == [False, True, True, False, False]
        assert index[1:3].tolist() == [2, 1]
    assert sample_negatives(torch.tensor([[1, 0]]))[1].tolist() == [False]
    first, again = (sample_negatives(torch.eye(9), torch.Generator().manual_seed(5))[0] for _ in range(2))
    assert (first == again).all()


def test_erasing_mask_by_hand():
    maps = torch.zeros(1, 3, 1, 5)
    maps[0, 0] = torch.tensor([-4., 0., 1., 2., 4.])
    maps[0, 1] = torch.tensor([9., 9., 9., 9., 0.])
    maps[0, 2] = torch.tensor([0., 0., 3., 0., 0.]) * 100  # its tag is not set
    mask = erasing_mask(maps, torch.tensor([[1, 0, 0]]), (1, 5))
    torch.testing.assert_close(mask[0, 0, 0], torch.tensor([0., 0., .25, .5, 0.]), rtol=0, atol=1e-5)
    mask = erasing_mask(maps, torch.tensor([[1, 1, 0]]), (1, 5), t_high=1.1)
    torch.testing.assert_close(mask[0, 0, 0], torch.tensor([1., 1., 1., 1., 1.]), rtol=0, atol=1e-5)


def test_erasing_mask_of_one_image_does_not_depend_on_the_batch_or_the_side():
    maps, tags = torch.randn(4, 3, 7, 9, generator=torch.Generator().manual_seed(0)), torch.tensor(DISJOINT)
    masks = erasing_mask(maps, tags, (28, 36))
    torch.testing.assert_close(erasing_mask(maps[3:], tags[3:], (28, 36)), masks[3:])
    torch.testing.assert_close(erasing_mask(maps.flip(3), tags, (28, 36)), masks.flip(3))
    mixed = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(erasing_mask(maps[mixed], tags[mixed], (28, 36)), masks[mixed])
    assert 0 < masks.max() < .6


@pytest.mark.parametrize('value', [0., 3., -3.])
def test_constant_maps_erase_everything_and_stay_finite(value):
    maps = torch.full((2, 3, 5, 5), value, requires_grad=True)
    tags = torch.tensor([[1, 0, 0], [0, 1, 1]])
    mask = erasing_mask(maps, tags, (10, 10))
    assert (mask == 0).all()
    assert low_confidence(maps, tags).all()
    peak = embed(scale_by_peak(maps), low_confidence(maps, tags), tags, unit=True)
    (mask.sum() + peak.sum()).backward()
    assert maps.grad.isfinite().all()


def test_no_pixels_of_a_region_give_zero():
    maps = torch.randn(1, 2, 3, 3)
    region = torch.stack([torch.zeros(3, 3), torch.eye(3)])[None].bool()
    assert embed(maps, region)[0].tolist() == pytest.approx([0., maps[0, 1].diagonal().mean().item()])


def test_repelling_by_hand():
    anchor, negative = torch.tensor([[.5, 0.], [.1, 0.], [.4, 0.], [.2, 0.]]), torch.tensor([[0., .6]] * 4)
    gap = .5 - (anchor[:, 0].square() + .36)  # -.11, .13, -.02, .10
    valid = torch.tensor([True, True, True, False])
    loss, hard = repel_loss(anchor, negative, valid, min_hard=0)
    assert hard.tolist() == [False, True, False, False]
    torch.testing.assert_close(loss, gap[1])
    torch.testing.assert_close(repel_loss(anchor, negative, valid, hard_only=False)[0], gap[1] / 3)
    valid = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(repel_loss(anchor, negative, valid, min_hard=1)[0], (gap[1] + gap[3]) / 2)
    torch.testing.assert_close(repel_loss(anchor, negative, valid, margin=1., min_hard=.9)[0], gap.mean() + .5)


@pytest.mark.parametrize('min_hard, counted', [(4, False), (3, True), (.5, False), (.49, True), (0, True)])
def test_repelling_needs_more_hard_pairs_than_min_hard(min_hard, counted):
    anchor = torch.zeros(8, 2, requires_grad=True)
    negative = torch.tensor([[.1, 0.]] * 4 + [[2., 0.]] * 4)
    loss, hard = repel_loss(anchor, negative, torch.ones(8, dtype=torch.bool), min_hard=min_hard)
    assert hard.sum() == 4 and (loss > 0) == counted
    loss.backward()
    assert (anchor.grad.abs().sum() > 0) == counted


def test_gradients_in_float64():
    g = torch.Generator().manual_seed(3)
    maps, pooled, erased = (torch.randn(3, 4, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
                            for _ in range(3))
    tags = torch.tensor([[1., 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    index, valid, low = torch.tensor([1, 2, 0]), torch.tensor([True, True, False]), low_confidence(maps, tags)

    def total(maps, pooled, erased, unit, hard_only):
        peak = scale_by_peak(pooled)
        repelled, _ = repel_loss(embed(peak, low, tags, unit), embed(peak, tags=tags, unit=unit)[index], valid, 3.,
                                 hard_only=hard_only, min_hard=0)
        first, second = (embed(F.relu(x), tags=tags, unit=unit) for x in (pooled, erased))
        attracted = attract_loss(first, second)
        return repelled + attracted + (erasing_mask(maps, tags, (6, 8)) ** 2).sum()

    for unit, hard_only in ((False, True), (True, False)):
        assert torch.autograd.gradcheck(lambda *x, u=unit, h=hard_only: total(*x, u, h), (maps, pooled, erased))


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
    with pytest.raises(ConfigError, match='distance'):
        triplet.distances(torch.zeros(1, 1), torch.zeros(1, 1), 'cosine')


def test_tags_are_needed():
    model = toy()
    with pytest.raises(ConfigError, match='gt_label'):
        model.objectives[0].loss(model, images(), model.extract_feat(images()), [SegDataSample()] * 4)
