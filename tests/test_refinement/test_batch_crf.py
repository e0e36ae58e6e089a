"""The CRF of a batch: both kernels against recorded posteriors, workers, padding, absent classes, bad input."""

import copy
import os
import pickle
import signal

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError, DataError, WSSSError
from wsss_mm.refinement import BatchCRF, DenseCRF
from wsss_mm.registry import TASK_UTILS

TOY = dict(bilateral_weight=2, bilateral_xy=4, bilateral_rgb=6, gaussian_weight=1, gaussian_xy=.5)


def batch(images=3, classes=4, height=9, width=12, seed=0):
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (images, 3, 3, 3)).repeat(-(-height // 3), 1).repeat(-(-width // 3), 2)
    pictures = pictures[:, :height, :width] + rng.integers(-5, 6, (images, height, width, 3))
    unary = torch.from_numpy(rng.normal(0, 1, (images, classes, height, width))).float()
    return torch.from_numpy(pictures.clip(0, 255).astype(np.uint8)), unary


def recorded(data, name):
    """Posterior of the first images, as many as are kept."""
    posterior = data.get(f'{name}', data.get(f'{name}_f32', data.get(f'{name}_f32_img0')))
    return posterior if posterior.ndim == 4 else posterior[None]


@pytest.mark.parametrize('size', ['voc41', 'small'])
@pytest.mark.parametrize('kernel, name, limit', [('exact', 'Q_exact', 1e-7), ('lattice', 'Q_pydensecrf', 2e-5)])
def test_published_settings(parity, size, kernel, name, limit):
    data = parity('sec/sec')
    expected = recorded(data, f'{size}_{name}')
    count = len(expected)
    found = BatchCRF(kernel=kernel)(data[f'{size}_image'][:count], -data[f'{size}_scores'][:count])
    assert (found - expected).abs().max() < limit


def test_exact_in_single_precision(parity):
    data = parity('sec/sec')
    images, unary = data['small_image'], -data['small_scores']
    found = BatchCRF(kernel='exact')(images, unary.float())
    assert found.dtype == torch.float32
    assert (found - data['small_Q_exact']).abs().max() < 2e-5


def test_dsrg_gives_minus_the_probability(parity):
    data = parity('sec/sec')
    found = BatchCRF(kernel='exact')(data['small_image'], -data['small_probs'].clamp_min(1e-4))
    torch.testing.assert_close(found, data['small_Q_exact_dsrg_unary_is_minus_prob'], rtol=0, atol=1e-11)


def test_kernels_disagree_as_noted(parity):
    """Three of a hundred pixels at the published size: results have to say which kernel was used."""
    data = parity('sec/sec')
    images, unary = data['voc41_image'][:1], -data['voc41_scores'][:1].float()
    lattice, exact = (BatchCRF(kernel=kernel)(images, unary).argmax(1) for kernel in ('lattice', 'exact'))
    assert .95 < (lattice == exact).double().mean() < .99


def test_lattice_is_dense_crf():
    images, unary = batch()
    probabilities = (-unary).softmax(1)
    found = BatchCRF(**TOY)(images, -probabilities.log())
    for i in range(3):
        expected = DenseCRF(**TOY)(images[i].numpy(), probabilities[i].numpy())
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


@pytest.mark.parametrize('kernel', ['lattice', 'exact'])
def test_an_image_does_not_depend_on_the_others(kernel, monkeypatch):
    from wsss_mm.refinement import batch_crf
    crf = BatchCRF(**TOY, kernel=kernel)
    images, unary = batch()
    whole = crf(images, unary)
    single = torch.cat([crf(images[i:i + 1], unary[i:i + 1]) for i in range(3)])
    torch.testing.assert_close(whole, single, rtol=0, atol=1e-6)
    monkeypatch.setattr(batch_crf, 'CHUNK', 2 * 108**2)
    torch.testing.assert_close(crf(images, unary), whole, rtol=0, atol=1e-6)
    assert (whole - (-unary).softmax(1)).abs().max() > .3


@pytest.mark.parametrize('kernel', ['lattice', 'exact'])
def test_padding_has_no_say(kernel):
    """Valid pixels get what the image without padding gets, whatever the padding holds."""
    crf = BatchCRF(**TOY, kernel=kernel)
    images, unary = batch()
    valid = torch.ones(3, 9, 12, dtype=torch.bool)
    valid[1, 6:] = False
    valid[1, :, 8:] = False
    valid[2] = False
    found = crf(images, unary, valid=valid)
    alone = crf(images[1:2, :6, :8], unary[1:2, :, :6, :8])
    torch.testing.assert_close(found[1:2, :, :6, :8], alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(found[0], crf(images, unary)[0], rtol=0, atol=1e-6)
    outside = (-unary).softmax(1).movedim(1, -1)[~valid]
    torch.testing.assert_close(found.movedim(1, -1)[~valid], outside, rtol=0, atol=1e-6)


@pytest.mark.parametrize('kernel', ['lattice', 'exact'])
def test_present_classes_alone(kernel):
    crf = BatchCRF(**TOY, kernel=kernel, classes='present')
    images, unary = batch()
    tags = torch.tensor([[True, False, True, True], [True, True, False, False], [True, False, False, False]])
    found = crf(images, unary, tags)
    for i in range(3):
        kept = tags[i].nonzero()[:, 0]
        expected = BatchCRF(**TOY, kernel=kernel)(images[i:i + 1], unary[i:i + 1, kept])[0]
        torch.testing.assert_close(found[i, kept], expected, rtol=0, atol=1e-6)
        assert not found[i, ~tags[i]].any()
    every = BatchCRF(**TOY, kernel=kernel)
    assert torch.equal(every(images, unary, tags), every(images, unary))


def test_half_precision_is_computed_as_float32():
    images, unary = batch()
    crf = BatchCRF(**TOY, kernel='exact')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = crf(images, unary.requires_grad_())
        half = crf(images, unary.bfloat16())
    assert found.dtype == half.dtype == torch.float32 and not found.requires_grad
    assert torch.equal(found, crf(images, unary)) and torch.equal(half, crf(images, unary.bfloat16().float()))


def test_workers_give_the_same_and_copies_have_none_of_them():
    crf = TASK_UTILS.build(dict(type='wsss_mm.BatchCRF', **TOY, num_workers=1))
    images, unary = batch()
    valid = torch.ones(3, 9, 12, dtype=torch.bool)
    valid[1, :, 8:] = False
    tags = torch.tensor([[True, False, True, True]] * 3)
    crf.classes = 'present'
    try:
        found = crf(images, unary, tags, valid)
        pool = crf._pool
        assert torch.equal(found, BatchCRF(**TOY, classes='present')(images, unary, tags, valid))
        assert copy.deepcopy(crf)._pool is None and pickle.loads(pickle.dumps(crf))._pool is None
        assert crf._pool is pool
        os.kill(next(iter(pool._processes)), signal.SIGKILL)
        with pytest.raises(WSSSError, match='a process of BatchCRF died'):
            crf(images, unary, tags, valid)
        assert crf._pool is None
    finally:
        crf.close()


@pytest.mark.parametrize('changed, message', [
    (dict(kernel='fast'), "kernel='fast'"), (dict(classes='some'), "classes='some'"),
    (dict(bilateral_rgb=0), 'bilateral_rgb=0'), (dict(gaussian_xy=float('nan')), 'gaussian_xy=nan'),
    (dict(iterations=-1), 'iterations=-1'), (dict(num_workers=-1), 'num_workers=-1'),
    (dict(kernel='exact', num_workers=2), "num_workers=2 with kernel='exact'"),
])
def test_bad_settings(changed, message):
    with pytest.raises(ConfigError, match=message):
        BatchCRF(**changed)


def test_bad_input():
    images, unary = batch()
    crf = BatchCRF()
    for pictures, energies in ((images.float(), unary), (images[:2], unary), (images[:, :5], unary),
                               (images, unary[0]), (images, unary[:, :0])):
        with pytest.raises(DataError, match='BatchCRF got images'):
            crf(pictures, energies)
    with pytest.raises(DataError, match='NaN or infinity'):
        crf(images, unary.clone().fill_(torch.nan))
    with pytest.raises(ConfigError, match='without tags'):
        BatchCRF(classes='present')(images, unary)
    with pytest.raises(DataError, match='an image that has none'):
        BatchCRF(classes='present')(images, unary, torch.zeros(3, 4))
    with pytest.raises(ConfigError, match='12000 positions'):
        BatchCRF(kernel='exact')(torch.zeros(1, 100, 120, 3, dtype=torch.uint8), torch.zeros(1, 2, 100, 120))
