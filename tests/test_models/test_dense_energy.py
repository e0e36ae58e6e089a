"""The dense energy: by hand, against all pairs, gradients, padding, and what it does to a segmentor's edges."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_mm.models.losses import DenseEnergyLoss, SeedBatch, cue_cross_entropy, dense_energy
from wsss_mm.refinement import BilateralFilter
from wsss_mm.registry import MODELS

EXACT = BilateralFilter(2, 30, 'exact')


def scene(images=2, classes=3, height=5, width=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (images, height, width, 3), generator=g, dtype=torch.uint8) // 3
    return pictures, torch.randn(images, classes, height, width, generator=g, dtype=torch.float64)


def energy(logits, pictures, valid=None, bilateral=EXACT):
    return dense_energy(logits.softmax(1), lambda maps: bilateral(pictures, maps, valid), valid)


def seed_batch(pictures, classes, valid=None):
    images, height, width = pictures.shape[:3]
    valid = torch.ones(images, height, width, dtype=torch.bool) if valid is None else valid
    return SeedBatch(torch.zeros(images, classes, height, width, dtype=torch.bool),
                     torch.ones(images, classes, dtype=torch.bool), pictures, valid)


def test_two_pixels_by_hand():
    """W is 1 on the diagonal and w beside it: 1'W1 = 2 + 2w."""
    picture = torch.tensor([[[[10, 50, 50], [40, 50, 50]]]], dtype=torch.uint8)
    w = math.exp(-1 / 8 - 1 / 2)
    p = torch.tensor([[[[.7, .2]], [[.3, .8]]]], dtype=torch.float64)
    found = dense_energy(p, lambda maps: EXACT(picture, maps))
    own = .7 * .3 + .3 * .7 + .2 * .8 + .8 * .2
    beside = 2 * (.7 * (1 - .2) + .3 * (1 - .8))
    assert float(found) == pytest.approx((own + w * beside) / (2 + 2 * w), rel=1e-12)


def test_it_is_the_sum_over_all_pairs():
    pictures, logits = scene()
    p = logits.softmax(1).flatten(2).numpy()
    expected = []
    for image, maps in zip(pictures, p, strict=True):
        place = np.stack(np.mgrid[:5, :6], -1).reshape(-1, 2) / 2
        feature = np.concatenate([place, image.reshape(-1, 3).numpy() / 30], 1)
        weight = np.exp(-((feature[:, None] - feature[None])**2).sum(2) / 2)
        expected.append(sum(s @ weight @ (1 - s) for s in maps) / weight.sum())
    assert float(energy(logits, pictures)) == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize('padded', [False, True])
def test_gradient(padded):
    """Also where a probability stands alone: the energy is then defined off the simplex, with the same formula."""
    pictures, logits = scene()
    valid = None
    if padded:
        valid = torch.ones(2, 5, 6, dtype=torch.bool)
        valid[0, 4:], valid[1] = False, False
    assert torch.autograd.gradcheck(lambda x: energy(x, pictures, valid), logits.requires_grad_())
    free = torch.rand(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: dense_energy(x, lambda maps: EXACT(pictures, maps, valid), valid), free)


def test_bounds_flip_and_batch():
    pictures, logits = scene(4, 5)
    values = torch.stack([energy(logits[i:i + 1], pictures[i:i + 1]) for i in range(4)])
    assert float(energy(logits, pictures)) == pytest.approx(float(values.mean()), rel=1e-12)
    assert (values > 0).all() and (values < 1).all()
    assert float(energy(logits.flip(-1), pictures.flip(2))) == pytest.approx(float(values.mean()), rel=1e-12)
    one_class = torch.zeros_like(logits)
    one_class[:, 2] = 1000
    assert float(energy(one_class, pictures)) == 0
    even = energy(torch.zeros_like(logits), pictures)   # any two pixels differ with probability 1 - 1 / C
    assert float(even) == pytest.approx(1 - 1 / 5, rel=1e-12)


@pytest.mark.parametrize('kernel', ['exact', 'lattice'])
def test_padding_has_no_part(kernel):
    bilateral = BilateralFilter(2, 30, kernel)
    pictures, logits = scene()
    logits = logits.float()
    valid = torch.ones(2, 5, 6, dtype=torch.bool)
    valid[:, :, 4:] = False
    found = energy(logits, pictures, valid, bilateral)
    cut = energy(logits[..., :4], pictures[:, :, :4], None, bilateral)
    torch.testing.assert_close(found, cut)
    pictures[~valid], logits[:, :, :, 4:] = 0, 1e4
    logits.requires_grad_()
    changed = energy(logits, pictures, valid, bilateral)
    torch.testing.assert_close(changed, found)
    changed.backward()
    assert not logits.grad[..., 4:].any() and logits.grad[..., :4].abs().max() > 0
    nothing = energy(logits, pictures, torch.zeros_like(valid), bilateral)
    assert nothing.item() == 0 and nothing.requires_grad


def test_the_lattice_gives_nearly_the_same_value_and_gradient():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 5, 5, 3)).repeat(8, 1).repeat(8, 2) + rng.integers(-6, 7, (2, 40, 40, 3))
    pictures = torch.from_numpy(pictures.clip(0, 255).astype(np.uint8))
    logits = 3 * F.interpolate(torch.from_numpy(rng.normal(0, 1, (2, 4, 6, 6))).float(), (40, 40), mode='bilinear')
    found = {}
    for kernel in ('exact', 'lattice'):
        x = logits.clone().requires_grad_()
        value = energy(x, pictures, None, BilateralFilter(6, 30, kernel))
        value.backward()
        found[kernel] = value.item(), x.grad.flatten()
    assert found['lattice'][0] == pytest.approx(found['exact'][0], rel=.02)
    assert F.cosine_similarity(found['lattice'][1], found['exact'][1], dim=0) > .99


def test_edges_of_labels_go_to_the_edges_of_the_image():
    """Two regions of the image, a cue in each: with the energy, and not without it, all pixels are told apart."""
    picture = torch.full((1, 12, 16, 3), 60, dtype=torch.uint8)
    picture[:, :, 10:] = 200
    truth = (torch.arange(16) >= 10).long().expand(12, 16)
    batch = seed_batch(picture, 2)
    batch.cues[0, 0, 6, 1] = batch.cues[0, 1, 6, 14] = True
    wrong = {}
    for weight in (0., 1.):
        loss = MODELS.build(dict(type='wsss_mm.DenseEnergyLoss', weight=weight, filter=dict(
            type='wsss_mm.BilateralFilter', xy=4, rgb=20, kernel='exact')))
        logits = torch.zeros(1, 2, 12, 16)
        logits[:, 1] = (torch.arange(16) - 7.5) / 100   # an edge in the wrong place
        logits.requires_grad_()
        optimizer = torch.optim.SGD([logits], lr=50.)
        for _ in range(200):
            optimizer.zero_grad()
            (cue_cross_entropy(logits, batch.cues) / 10 + loss(logits, batch)['loss_dense_energy']).backward()
            optimizer.step()
        wrong[weight] = int((logits.argmax(1)[0] != truth).sum())
    assert wrong[0.] == 24 and wrong[1.] == 0


def test_the_module_weighs_and_takes_half_precision():
    pictures, logits = scene()
    batch = seed_batch(pictures, 3)
    found = DenseEnergyLoss(weight=.5)(logits.half(), batch)
    expected = .5 * energy(logits.half().float(), pictures, batch.valid, BilateralFilter(12.5, 15))
    assert set(found) == {'loss_dense_energy'}
    torch.testing.assert_close(found['loss_dense_energy'], expected)
