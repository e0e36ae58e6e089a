"""Losses on partly wrong label maps."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub

from wsss_mm.errors import ConfigError
from wsss_mm.models.decode_heads import cosine_map
from wsss_mm.models.losses import (
    BootstrappingLoss,
    bootstrapping_loss,
    confidence,
    entropy_regularization,
    noise_aware_loss,
    poly_beta,
    reliable_cross_entropy,
    split_by_agreement,
)
from wsss_mm.registry import MODELS

LOSSES = {
    'noise_aware': lambda x, y, r: noise_aware_loss(20 * x, x, y, r),
    'noise_aware_detached': lambda x, y, r: noise_aware_loss(20 * x, x, y, r, detach_sigma=True),
    'reliable': lambda x, y, r: reliable_cross_entropy(5 * x, y, r),
    'entropy': lambda x, y, r: entropy_regularization(5 * x, y, r),
    'bootstrapping': lambda x, y, r: bootstrapping_loss(5 * x, y, r, beta=.3),
    'bootstrapping_attached': lambda x, y, r: bootstrapping_loss(5 * x, y, r, beta=.3, detach_target=False),
}
all_losses = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)


def total(terms):
    return sum(term for name, term in terms.items() if 'loss' in name)


def maps(n=2, classes=4, h=3, w=5, dtype=torch.float64, seed=0):
    """Similarities in (-1, 1) and two label maps with agreement, disagreement and padding."""
    g = torch.Generator().manual_seed(seed)
    similarity = torch.rand(n, classes, h, w, generator=g, dtype=dtype) * 1.8 - .9
    labels = torch.randint(0, classes, (n, h, w), generator=g)
    retrieved = torch.where(torch.rand(n, h, w, generator=g) < .5, labels, (labels + 1) % classes)
    labels[:, 0, 0] = 255
    retrieved[:, 0, 0] = 255
    retrieved[:, 1, 1] = 255
    return similarity, labels, retrieved


@pytest.mark.parametrize(('detach', 'suffix'), [(False, ''), (True, '_sigma_detached')])
def test_noise_aware_loss_equals_the_published_code(parity, detach, suffix):
    data = parity('bana/nal_mixed')
    features = data['features'].requires_grad_()
    weight = data['classifier_weight'].requires_grad_()
    labels, retrieved = data['Y_crf'], data['Y_ret']
    low = cosine_map(features, weight)
    torch.testing.assert_close(low, data['cosine_lowres'], atol=1e-6, rtol=0)
    similarity = F.interpolate(low, size=labels.shape[1:], mode='bilinear', align_corners=True)
    torch.testing.assert_close(similarity, data['cosine_fullres'], atol=1e-6, rtol=0)

    reliable, unreliable = split_by_agreement(labels, retrieved)
    assert torch.equal(unreliable, data['unreliable_mask'])
    assert torch.equal(reliable, data['target_reliable'] != 255)
    torch.testing.assert_close(confidence(similarity, labels)[unreliable], data['sigma'][unreliable],
                               atol=1e-6, rtol=1e-5)

    terms = noise_aware_loss(20 * similarity, similarity, labels, retrieved, detach_sigma=detach)
    assert terms['loss_ce'].item() == pytest.approx(float(data['loss_ce']), abs=2e-6)
    assert terms['loss_wce'].item() == pytest.approx(.1 * float(data['loss_wce']), abs=1e-6)
    assert terms['unreliable_share'].item() == pytest.approx((unreliable.sum() / (labels != 255).sum()).item())
    assert terms['mean_sigma'].item() == pytest.approx(data['sigma'][unreliable].mean().item(), rel=1e-5)
    total(terms).backward()
    for found, name in ((features.grad, 'features'), (weight.grad, 'classifier')):
        expected = data[f'grad_{name}{suffix}']
        assert (found - expected).abs().max() <= 2e-6 * expected.abs().max()


def test_the_switch_for_sigma_changes_the_gradient_and_not_the_value():
    similarity, labels, retrieved = maps()
    values, gradients = [], []
    for detach in (False, True):
        x = similarity.clone().requires_grad_()
        value = total(noise_aware_loss(20 * x, x, labels, retrieved, detach_sigma=detach))
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, x)[0])
    assert values[0] == values[1]
    assert (gradients[0] - gradients[1]).norm() > .01 * gradients[0].norm()


def test_three_pixels_by_hand():
    # Cosines of two classes; a reliable pixel and two unreliable ones.
    similarity = torch.tensor([[.5, .5, 0.], [-.5, 1., 0.]], dtype=torch.float64).view(1, 2, 1, 3)
    labels, retrieved = torch.tensor([[[0, 0, 1]]]), torch.tensor([[[0, 1, 0]]])
    terms = noise_aware_loss(2 * similarity, similarity, labels, retrieved, gamma=2, lambda_=.5)
    sigma = (1.5 / 2) ** 2, 1.  # 1 + cos of the label over 1 + the largest cos
    wce = (sigma[0] * math.log1p(math.e ** 1.) + sigma[1] * math.log(2)) / sum(sigma)
    assert terms['loss_ce'].item() == pytest.approx(math.log1p(math.e ** -2))
    assert terms['loss_wce'].item() == pytest.approx(.5 * wce)
    assert terms['mean_sigma'].item() == pytest.approx(sum(sigma) / 2)
    assert terms['unreliable_share'].item() == pytest.approx(2 / 3)


def test_entropy_and_bootstrapping_by_hand():
    logits = torch.tensor([[0., math.log(3)], [0., 0.]], dtype=torch.float64).view(1, 2, 1, 2)
    labels, retrieved = torch.tensor([[[0, 1]]]), torch.tensor([[[0, 0]]])
    # The second pixel is unreliable: probabilities 3/4, 1/4, label 1.
    entropy = .75 * math.log(4 / 3) + .25 * math.log(4)
    terms = entropy_regularization(logits, labels, retrieved, lambda_=.2)
    assert terms['loss_ce'].item() == pytest.approx(math.log(2))
    assert terms['loss_entropy'].item() == pytest.approx(.2 * entropy)
    for beta in (1., .4, 0.):
        terms = bootstrapping_loss(logits, labels, retrieved, beta=beta, lambda_=.2)
        assert terms['loss_bootstrap'].item() == pytest.approx(.2 * (beta * math.log(4) + (1 - beta) * entropy))


def test_a_fixed_target_equal_to_the_prediction_teaches_nothing():
    logits, labels, retrieved = maps()
    retrieved = (labels + 1) % 4  # nobody agrees
    logits.requires_grad_()
    fixed = total(bootstrapping_loss(logits, labels, retrieved, beta=0.))
    assert torch.autograd.grad(fixed, logits)[0].abs().max() < 1e-12
    free = total(bootstrapping_loss(logits, labels, retrieved, beta=0., detach_target=False))
    entropy = total(entropy_regularization(logits, labels, retrieved))
    torch.testing.assert_close(torch.autograd.grad(free, logits)[0], torch.autograd.grad(entropy, logits)[0])


@pytest.mark.parametrize('name', ['noise_aware', 'reliable', 'entropy', 'bootstrapping_attached'])
def test_gradients_against_finite_differences(name):
    similarity, labels, retrieved = maps(n=1, h=2, w=3)
    assert torch.autograd.gradcheck(lambda x: total(LOSSES[name](x, labels, retrieved)), similarity.requires_grad_())


def test_detached_gradients_against_finite_differences():
    similarity, labels, retrieved = maps(n=1, h=2, w=3)
    reliable, unreliable = split_by_agreement(labels, retrieved)
    sigma = confidence(similarity, labels)
    target = (5 * similarity).softmax(dim=1)
    x = similarity.clone().requires_grad_()

    def with_constant_sigma(x):
        errors = F.cross_entropy(20 * x, labels, ignore_index=255, reduction='none')
        return errors[reliable].mean() + .1 * (sigma * errors)[unreliable].sum() / sigma[unreliable].sum()

    def with_constant_target(x):
        log_probs = (5 * x).log_softmax(dim=1)
        errors = F.nll_loss(log_probs, labels, ignore_index=255, reduction='none')
        mixed = .3 * errors - .7 * (target * log_probs).sum(dim=1)
        return errors[reliable].mean() + .1 * mixed[unreliable].mean()

    for name, plain in (('noise_aware_detached', with_constant_sigma), ('bootstrapping', with_constant_target)):
        assert torch.autograd.gradcheck(plain, x)
        ours = total(LOSSES[name](x, labels, retrieved))
        torch.testing.assert_close(torch.autograd.grad(ours, x)[0], torch.autograd.grad(plain(x), x)[0])


@all_losses
@pytest.mark.parametrize('case', ['all agree', 'none agrees', 'all padding'])
def test_empty_sets_give_a_zero_term_and_finite_gradients(loss, case):
    similarity, labels, _ = maps()
    labels[labels == 255] = 0
    retrieved = labels if case == 'all agree' else (labels + 1) % 4
    if case == 'all padding':
        labels = torch.full_like(labels, 255)
    x = similarity.requires_grad_()
    terms = loss(x, labels, retrieved)
    total(terms).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert torch.isfinite(x.grad).all()
    zero = {'all agree': [n for n in terms if 'loss' in n and n != 'loss_ce'], 'none agrees': ['loss_ce'],
            'all padding': [n for n in terms if 'loss' in n]}[case]
    assert all(terms[name] == 0 for name in zero)
    assert (x.grad != 0).any() == (case != 'all padding' and not (case == 'none agrees' and len(terms) == 2))


@all_losses
def test_padding_and_flipping_change_nothing(loss):
    similarity, labels, retrieved = maps()
    plain = loss(similarity, labels, retrieved)
    padded = loss(F.pad(similarity, (0, 3, 0, 2), value=50.), F.pad(labels, (0, 3, 0, 2), value=255),
                  F.pad(retrieved, (0, 3, 0, 2), value=255))
    flipped = loss(similarity.flip(-1), labels.flip(-1), retrieved.flip(-1))
    for name, value in plain.items():
        torch.testing.assert_close(padded[name], value)
        torch.testing.assert_close(flipped[name], value)


@all_losses
def test_nothing_at_padding_reaches_the_loss(loss):
    similarity, labels, retrieved = maps()
    spoiled = similarity.clone()
    spoiled[:, :, 0, 0] = torch.inf
    x = spoiled.requires_grad_()
    assert total(loss(x, labels, retrieved)) == total(loss(similarity, labels, retrieved))


def test_means_run_over_the_batch_weighing_images_by_their_pixels():
    similarity, labels, retrieved = maps()
    batch = noise_aware_loss(20 * similarity, similarity, labels, retrieved)
    sums = torch.zeros(4, dtype=torch.float64)
    for i in range(2):
        one = similarity[i:i + 1], labels[i:i + 1], retrieved[i:i + 1]
        terms = noise_aware_loss(20 * one[0], *one)
        reliable, unreliable = split_by_agreement(*one[1:])
        weight = terms['mean_sigma'] * unreliable.sum()
        sums += torch.stack([terms['loss_ce'] * reliable.sum(), reliable.sum(), terms['loss_wce'] * weight, weight])
    torch.testing.assert_close(batch['loss_ce'], sums[0] / sums[1])
    torch.testing.assert_close(batch['loss_wce'], sums[2] / sums[3])


def test_cosines_a_rounding_error_beyond_one_stay_finite():
    similarity = torch.tensor([-1 - 1e-6, 1.]).view(1, 2, 1, 1).requires_grad_()
    labels, retrieved = torch.tensor([[[0]]]), torch.tensor([[[1]]])
    terms = noise_aware_loss(20 * similarity, similarity, labels, retrieved, gamma=1.5)
    total(terms).backward()
    assert torch.isfinite(similarity.grad).all()
    assert terms['mean_sigma'] == 0
    assert torch.isfinite(confidence(torch.full((1, 2, 1, 1), -1 - 1e-6), labels)).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_computed_in_float32(dtype):
    similarity, labels, retrieved = maps(dtype=torch.float32)
    similarity = similarity.to(dtype)
    for loss in LOSSES.values():
        half, full = loss(similarity, labels, retrieved), loss(similarity.float(), labels, retrieved)
        assert half['loss_ce'].dtype == torch.float32
        torch.testing.assert_close(total(half), total(full), rtol=.02, atol=0)  # 20 * x was rounded outside


@pytest.mark.parametrize('name', ['NoiseAwareLoss', 'ReliableCrossEntropy', 'EntropyRegularization'])
def test_modules_call_their_function_and_weigh_losses_only(name):
    similarity, labels, retrieved = maps()
    expected = {'NoiseAwareLoss': LOSSES['noise_aware'](similarity, labels, retrieved),
                'ReliableCrossEntropy': reliable_cross_entropy(20 * similarity, labels, retrieved),
                'EntropyRegularization': entropy_regularization(20 * similarity, labels, retrieved)}[name]
    module = MODELS.build(dict(type=f'wsss_mm.{name}', loss_weight=.4))
    for key, value in module(20 * similarity, similarity, labels, retrieved).items():
        torch.testing.assert_close(value, expected[key] * (.4 if 'loss' in key else 1))


def test_poly_beta_goes_from_one_to_zero():
    assert [poly_beta(i, 200) for i in (0, 100, 200)] == pytest.approx([1, .5 ** .9, 0])


@pytest.fixture
def hub():
    yield MessageHub.get_instance('bootstrapping-test')
    MessageHub._instance_dict.pop('bootstrapping-test')


def test_bootstrapping_follows_the_training(hub):
    similarity, labels, retrieved = maps()
    module = BootstrappingLoss()
    with pytest.raises(ConfigError, match='max_iters'):
        module(similarity, None, labels, retrieved)
    hub.update_info('max_iters', 40)
    for iteration in (0, 20, 40):
        hub.update_info('iter', iteration)
        expected = bootstrapping_loss(similarity, labels, retrieved, beta=(1 - iteration / 40) ** .9)
        found = module(similarity, None, labels, retrieved)
        torch.testing.assert_close(found['loss_bootstrap'], expected['loss_bootstrap'])
