"""Losses on seeds: recorded values and gradients, edge cases, padding, the registered modules."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub

from wsss_mm.errors import ConfigError
from wsss_mm.models.losses import (
    SeedBatch,
    balanced_seed_loss,
    constrain_loss,
    cue_cross_entropy,
    expand_loss,
    floored_posterior,
    floored_probabilities,
    grow_seeds,
    rank_pooling,
    seed_loss,
    tag_loss,
    with_diagonal_gradient,
)
from wsss_mm.refinement import BatchCRF
from wsss_mm.registry import MODELS

CRF = dict(type='wsss_mm.BatchCRF', kernel='exact', bilateral_weight=2, bilateral_xy=4, bilateral_rgb=6,
           gaussian_weight=1, gaussian_xy=.5)


def random_batch(images=3, classes=4, height=5, width=6, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, height, width, generator=g, dtype=dtype)
    owner = torch.randint(0, 3 * classes, (images, 1, height, width), generator=g)
    tags = torch.rand(images, classes, generator=g) < .5
    tags[:, 0] = True
    cues = (owner == torch.arange(classes).view(-1, 1, 1)) & tags[:, :, None, None]
    pictures = torch.randint(0, 256, (images, height, width, 3), generator=g, dtype=torch.uint8)
    valid = torch.ones(images, height, width, dtype=torch.bool)
    return logits, SeedBatch(cues, tags, pictures, valid)


def sec_terms(p, cues, tags, posterior, valid=None):
    return dict(seed=seed_loss(p, cues, valid), expand=sum(expand_loss(p, tags, valid=valid).values()),
                constrain_stopgradQ=constrain_loss(p, posterior, valid))


@pytest.mark.parametrize('size', ['voc41', 'small'])
def test_sec_values_and_gradients(parity, size):
    data = parity('sec/sec')
    scores = data[f'{size}_scores'].requires_grad_()
    p, tags, cues = floored_probabilities(scores), data[f'{size}_labels'], data[f'{size}_cues']
    posterior = floored_posterior(BatchCRF(kernel='exact')(data[f'{size}_image'], -scores))
    if size == 'small':
        torch.testing.assert_close(p, data['small_probs'], rtol=1e-12, atol=0)
    parts, terms = expand_loss(p, tags), sec_terms(p, cues, tags, posterior)
    found = dict(L_seed=terms['seed'], L_expand=terms['expand'], L_expand_present=parts['present'],
                 L_expand_absent=parts['absent'], L_expand_bg=parts['background'],
                 L_constrain_exactQ=terms['constrain_stopgradQ'])
    found['L_constrain_exactQ_ratioclip0.05_20'] = constrain_loss(p, posterior, ratio=(.05, 20))
    for name, value in found.items():
        assert value.item() == pytest.approx(float(data[f'{size}_{name}']), rel=1e-12), name
    for name, value in terms.items():
        gradient, = torch.autograd.grad(value, scores, retain_graph=True)
        if size == 'small':
            torch.testing.assert_close(gradient, data[f'small_grad_{name}'], rtol=1e-9, atol=1e-14)
        else:
            torch.testing.assert_close(gradient[0].float(), data[f'voc41_grad_{name}_f32_img0'], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('size', ['voc41', 'small'])
def test_pooling_values(parity, size):
    data = parity('sec/sec')
    p = floored_probabilities(data[f'{size}_scores']).flatten(2)
    for found, name in ((rank_pooling(p[:, 1:].flatten(0, 1), .996).view(len(p), -1), 'gwrp_fg_0.996'),
                        (rank_pooling(p[:, 0], .999), 'gwrp_bg_0.999'),
                        (rank_pooling(p[:, 1:].flatten(0, 1), 0).view(len(p), -1), 'max_fg')):
        torch.testing.assert_close(found, data[f'{size}_{name}'], rtol=1e-12, atol=0)


def test_pooling_by_hand():
    maps = torch.tensor([[.1, .4, .2]], dtype=torch.float64)
    assert rank_pooling(maps, .5).item() == pytest.approx((.4 + .5 * .2 + .25 * .1) / 1.75)
    assert rank_pooling(maps, 0.).item() == pytest.approx(.4) and rank_pooling(maps, 1.).item() == pytest.approx(.7 / 3)
    padded = torch.tensor([[True, False, True]])
    assert rank_pooling(maps, .5, padded).item() == pytest.approx((.2 + .5 * .1) / 1.5)
    assert rank_pooling(maps, .5, ~torch.ones_like(padded)).item() == 0


def test_pooling_weights_made_in_inference_mode_serve_training():
    maps = torch.rand(2, 29)
    with torch.inference_mode():
        rank_pooling(maps, .77)
    rank_pooling(maps.requires_grad_(), .77).sum().backward()
    assert maps.grad.abs().sum() > 0


def test_absent_classes_may_be_pooled_too():
    logits, batch = random_batch(dtype=torch.float64)
    p = floored_probabilities(logits)
    found = expand_loss(p, batch.tags, (.9, .5, .8))
    for name, wanted in (('present', batch.tags), ('absent', ~batch.tags)):
        total = 0.
        for i in range(3):
            chosen = [c for c in range(1, 4) if wanted[i, c]]
            scores = [rank_pooling(p[i, c].flatten()[None], .9 if name == 'present' else .5)[0] for c in chosen]
            terms = [-(s if name == 'present' else 1 - s).log() for s in scores]
            total += sum(terms) / max(len(terms), 1) / 3
        torch.testing.assert_close(found[name], torch.as_tensor(total, dtype=torch.float64))
    whole = expand_loss(p, batch.tags)
    torch.testing.assert_close(whole['absent'], expand_loss(p, batch.tags, (.996, 1e-30, .999))['absent'])


@pytest.mark.parametrize('background, foreground', [(.99, .85), (.7, .5)])
@pytest.mark.parametrize('size', ['voc41', 'small'])
def test_balanced_seed_loss(parity, size, background, foreground):
    data = parity('dsrg/dsrg')
    name = f'{size}_bg{background}_fg{foreground}'
    p = data[f'{size}_probs'].requires_grad_()
    found = balanced_seed_loss(p, data[f'{name}_grown'])
    for value, part in zip(found, ('bg', 'fg'), strict=True):
        assert value.item() == pytest.approx(float(data[f'{name}_L_{part}']), rel=1e-12)
    if size == 'small':
        sum(found).backward()
        torch.testing.assert_close(p.grad, data[f'{name}_grad_wrt_probs'], rtol=1e-9, atol=1e-14)


def test_gradients_are_those_of_the_values():
    logits, batch = random_batch(2, 3, 3, 4, dtype=torch.float64)
    batch.valid[0, :, 3] = False
    posterior = floored_posterior(BatchCRF(kernel='exact')(batch.images, -logits))

    def every(scores):
        p = floored_probabilities(scores)
        terms = sec_terms(p, batch.cues, batch.tags, posterior, batch.valid)
        return (*terms.values(), *balanced_seed_loss(p, batch.cues, batch.valid),
                constrain_loss(p, posterior, batch.valid, (.3, 3)), cue_cross_entropy(scores, batch.cues, batch.valid),
                tag_loss(scores, batch.tags, batch.valid), *expand_loss(p, batch.tags, (.9, .5, .8)).values())
    assert torch.autograd.gradcheck(every, logits.requires_grad_())


def test_diagonal_gradient():
    """As if ``Q`` were softmax(-U) and its logarithm's derivative had a diagonal alone."""
    g = torch.Generator().manual_seed(0)
    negative_unary = torch.randn(1, 3, 2, 2, generator=g, dtype=torch.float64, requires_grad=True)
    posterior = torch.rand(1, 3, 2, 2, generator=g, dtype=torch.float64).softmax(1)
    carried = with_diagonal_gradient(posterior, negative_unary)
    torch.testing.assert_close(carried, posterior)
    upstream = torch.randn(posterior.shape, generator=g, dtype=torch.float64)
    carried.backward(upstream)
    torch.testing.assert_close(negative_unary.grad, (1 - posterior) * posterior * upstream)


def every_term(logits, batch):
    p = floored_probabilities(logits)
    posterior = floored_posterior(BatchCRF(**{k: v for k, v in CRF.items() if k != 'type'})(
        batch.images, -logits, batch.tags, batch.valid))
    background, foreground = balanced_seed_loss(p, batch.cues, batch.valid)
    return dict(sec_terms(p, batch.cues, batch.tags, posterior, batch.valid), background=background,
                foreground=foreground, clipped=constrain_loss(p, posterior, batch.valid, (.05, 20)))


def rows_of(batch, index):
    return SeedBatch(batch.cues[index], batch.tags[index], batch.images[index], batch.valid[index])


def test_a_batch_is_the_mean_of_its_images():
    logits, batch = random_batch(dtype=torch.float64)
    batch.valid[1, 3:] = False
    whole = every_term(logits, batch)
    single = [every_term(logits[i:i + 1], rows_of(batch, slice(i, i + 1))) for i in range(3)]
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([terms[name] for terms in single]).mean())


def test_mirror_images_lose_the_same():
    logits, batch = random_batch(dtype=torch.float64)
    mirrored = SeedBatch(batch.cues.flip(3), batch.tags, batch.images.flip(2), batch.valid.flip(2))
    for (name, value), other in zip(every_term(logits, batch).items(), every_term(logits.flip(3), mirrored).values(),
                                    strict=True):
        torch.testing.assert_close(value, other, msg=name)


def test_padding_does_not_count():
    """A padded batch gives what the image without padding gives, and no gradient there."""
    logits, batch = random_batch(1, dtype=torch.float64)
    logits.requires_grad_()
    batch.valid[:, 3:] = False
    batch.valid[:, :, 4:] = False
    cut = SeedBatch(batch.cues[..., :3, :4], batch.tags, batch.images[:, :3, :4], batch.valid[:, :3, :4])
    padded, alone = every_term(logits, batch), every_term(logits[..., :3, :4], cut)
    padded['tags'], alone['tags'] = tag_loss(logits, batch.tags, batch.valid), tag_loss(logits[..., :3, :4], batch.tags)
    padded['cues'] = cue_cross_entropy(logits, batch.cues, batch.valid)
    alone['cues'] = cue_cross_entropy(logits[..., :3, :4], cut.cues)
    for name, value in padded.items():
        torch.testing.assert_close(value, alone[name], msg=name)
    sum(padded.values()).backward()
    assert not logits.grad.movedim(1, -1)[~batch.valid].any() and logits.grad.abs().sum() > 0


@pytest.mark.parametrize('what', ['no cues', 'no foreground tag', 'every tag', 'nothing valid'])
@pytest.mark.parametrize('floor', [0., 1e-4])
def test_missing_parts_give_0_and_gradients(what, floor):
    logits, batch = random_batch(1, dtype=torch.float64)
    logits[0, 1, 0, 0] = 400     # a probability of 1 in float64, of 0 for the others
    logits.requires_grad_()
    if what == 'no cues':
        batch.cues.zero_()
    elif what == 'nothing valid':
        batch.valid.zero_()
    else:
        batch.tags[:, 1:] = what == 'every tag'
    p = floored_probabilities(logits, floor)
    parts = expand_loss(p, batch.tags, valid=batch.valid)
    terms = dict(parts, seed=seed_loss(p, batch.cues, batch.valid),
                 cues=cue_cross_entropy(logits, batch.cues, batch.valid),
                 constrain=constrain_loss(p, floored_posterior(p.detach(), 1e-4), batch.valid),
                 **dict(zip(('bg', 'fg'), balanced_seed_loss(p, batch.cues, batch.valid), strict=True)))
    zero = {'no cues': ('seed', 'bg', 'fg', 'cues'), 'no foreground tag': ('present', ), 'every tag': ('absent', ),
            'nothing valid': tuple(terms)}[what]
    for name, value in terms.items():
        gradient, = torch.autograd.grad(value, logits, retain_graph=True)
        assert value.isfinite() and gradient.isfinite().all(), name
        assert (value == 0) == (name in zero), name


def test_gain_losses_are_torchs_own():
    logits, batch = random_batch()
    labels = torch.where(batch.cues.any(1), batch.cues.byte().argmax(1), 255)
    torch.testing.assert_close(cue_cross_entropy(logits, batch.cues), F.cross_entropy(logits, labels, ignore_index=255))
    expected = F.multilabel_soft_margin_loss(logits.mean((2, 3))[:, 1:], batch.tags[:, 1:].float())
    torch.testing.assert_close(tag_loss(logits, batch.tags), expected)
    terms = MODELS.build(dict(type='wsss_mm.GAINSegLoss', seg_weight=2., cl_weight=3.))(logits, batch)
    torch.testing.assert_close(terms['loss_cl'], 3 * expected)
    torch.testing.assert_close(terms['loss_seg'], 2 * cue_cross_entropy(logits, batch.cues))


def test_sec_module():
    logits, batch = random_batch()
    loss = MODELS.build(dict(type='wsss_mm.SECLoss', seed_weight=2., expand_weight=3., constrain_weight=4., crf=CRF))
    terms = loss(logits.requires_grad_(), batch)
    by_hand = every_term(logits, batch)
    for key, weight, name in (('seed', 2, 'seed'), ('expand', 3, 'expand'), ('constrain', 4, 'constrain_stopgradQ')):
        torch.testing.assert_close(terms[f'loss_{key}'], weight * by_hand[name])
    only = MODELS.build(dict(type='wsss_mm.SECLoss', expand_weight=0, constrain_weight=0))
    assert list(only(logits, batch)) == ['loss_seed'] and 'crf' not in vars(only)
    assert MODELS.build(dict(type='wsss_mm.SECLoss')).crf.bilateral_xy == pytest.approx(80 / 12)


def test_dsrg_module():
    logits, batch = random_batch(seed=2)
    logits = 3 * logits
    kwargs = dict(type='wsss_mm.DSRGLoss', crf=CRF, foreground_threshold=.4, background_threshold=.5)
    p = floored_probabilities(logits)
    crf = MODELS.build(kwargs).crf
    for unary, energy in (('probability', -p), ('log', -p.log())):
        posterior = crf(batch.images, energy)
        for grow_on, source in (('crf', posterior), ('softmax', p)):
            terms = MODELS.build(dict(kwargs, unary=unary, grow_on=grow_on))(logits, batch)
            grown = grow_seeds(batch.cues, source, batch.tags, .4, .5)
            background, foreground = balanced_seed_loss(p, grown)
            torch.testing.assert_close(terms['loss_seed_background'], background)
            torch.testing.assert_close(terms['loss_seed_foreground'], foreground)
            torch.testing.assert_close(terms['loss_constrain'],
                                       constrain_loss(p, floored_posterior(posterior), ratio=(.05, 20)))
            added = (grown & ~batch.cues).sum((0, 2, 3)) / 90
            assert added.sum() > 0
            torch.testing.assert_close(terms['grown_background'], added[0])
            torch.testing.assert_close(terms['grown_foreground'], added[1:].sum())


def test_dsrg_does_not_grow_through_padding():
    """What a valid pixel gets is what it would get without the padding."""
    logits, batch = random_batch(1, 3, 1, 6)
    logits = torch.tensor([0., 6., -6.]).view(1, 3, 1, 1).expand_as(logits)
    batch.tags.fill_(True)
    batch.cues.zero_()[0, 1, 0, 0] = True
    batch.valid[0, 0, 2] = False
    loss = MODELS.build(dict(type='wsss_mm.DSRGLoss', crf=CRF, grow_on='softmax'))
    assert loss(logits, batch)['grown_foreground'].item() == pytest.approx(1 / 5)
    batch.valid.fill_(True)
    assert loss(logits, batch)['grown_foreground'].item() == pytest.approx(5 / 6)


def test_dsrg_gradient_through_the_crf():
    """The published heuristic adds to SEC's gradient of the boundary term what its definition says."""
    logits, batch = random_batch(seed=4)
    logits.requires_grad_()
    kwargs = dict(type='wsss_mm.DSRGLoss', crf=CRF, ratio=None)
    gradients = {}
    for kind in ('diagonal', 'none'):
        loss = MODELS.build(dict(kwargs, crf_gradient=kind))
        gradients[kind], = torch.autograd.grad(loss(logits, batch)['loss_constrain'], logits)
    p = floored_probabilities(logits)
    q = floored_posterior(loss.crf(batch.images, -p))
    upstream = q * ((q / p).log() + 1) / p[:, 0].numel()         # dL / d(log Q)
    added, = torch.autograd.grad(p, logits, ((1 - q) * upstream).detach())
    assert added.abs().max() > 1e-4
    torch.testing.assert_close(gradients['diagonal'] - gradients['none'], added, rtol=1e-4, atol=1e-7)


def test_growing_waits_for_its_iteration():
    logits, batch = random_batch(seed=2)
    loss = MODELS.build(dict(type='wsss_mm.DSRGLoss', crf=CRF, foreground_threshold=.4, begin=10))
    hub = MessageHub.get_current_instance()
    try:
        hub.update_info('iter', 9)
        early = loss(3 * logits, batch)
        hub.update_info('iter', 10)
        late = loss(3 * logits, batch)
    finally:
        hub.runtime_info.pop('iter', None)
    assert early.keys() == late.keys()
    assert early['grown_foreground'] == 0 and late['grown_foreground'] > 0


@pytest.mark.parametrize('name', ['SECLoss', 'DSRGLoss', 'GAINSegLoss'])
def test_autocast_and_empty_batches(name):
    logits, batch = random_batch()
    loss = MODELS.build(dict(type=f'wsss_mm.{name}', **({} if name == 'GAINSegLoss' else dict(crf=CRF))))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = loss(logits.bfloat16(), batch)
    for key, value in loss(logits.bfloat16().float(), batch).items():
        assert half[key].dtype == torch.float32
        torch.testing.assert_close(half[key], value)
    batch.cues.zero_()
    batch.valid.zero_()
    logits.requires_grad_()
    terms = loss(logits, batch)
    total = sum(value for key, value in terms.items() if 'loss' in key)
    total.backward()
    assert total.isfinite() and logits.grad.isfinite().all()
    if name != 'GAINSegLoss':
        assert total == 0


@pytest.mark.parametrize('config, message', [
    (dict(type='wsss_mm.SECLoss', decays=(.9, .9)), 'decays'),
    (dict(type='wsss_mm.SECLoss', decays=(.9, 0, 1.5)), 'decays'),
    (dict(type='wsss_mm.DSRGLoss', grow_on='logits'), "grow_on='logits'"),
    (dict(type='wsss_mm.DSRGLoss', unary='energy'), "unary='energy'"),
    (dict(type='wsss_mm.DSRGLoss', crf_gradient='all'), "crf_gradient='all'"),
    (dict(type='wsss_mm.DSRGLoss', foreground_threshold=85), 'foreground_threshold=85'),
])
def test_bad_settings(config, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(config)
