"""AffinityNet: its loss as published, its gradients, its predictions."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity import neighbour_offsets
from wsss_mm.models.affinity.psa_loss import affinity_loss, pair_distances, pair_labels, released_sources
from wsss_mm.registry import MODELS

OFFSETS = neighbour_offsets(5)
CASES = ['sq14', 'rect12x17']


def network(**changes):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='wsss_mm.AffinityNet', num_classes=6, stride=4,
        backbone=dict(type='wsss_mm.ToyNet', channels=(8, 12, 16), out_indices=(0, 1, 2)),
        branches=[dict(in_index=0, in_channels=12, channels=4), dict(in_index=1, in_channels=16, channels=8),
                  dict(in_index=2, in_channels=16, channels=8, norm_groups=2)], **changes))
    model.init_weights()
    return model


@pytest.mark.parametrize('case', CASES)
def test_pairs_are_the_published_ones(parity, case):
    found = parity('psa/psa')
    labels = found[f'{case}_label'].long()[None]
    sources = released_sources(labels, 5)
    height, width = labels.shape[1:]
    assert torch.equal(sources.flatten().nonzero().flatten(), found[f'{case}_idx_from'])
    assert torch.equal(found['offsets_dy_dx'], OFFSETS)
    to = found[f'{case}_idx_from'] + OFFSETS[:, :1] * width + OFFSETS[:, 1:]
    assert torch.equal(to, found[f'{case}_idx_to'])
    for name, mask in zip(('bg', 'fg', 'neg'), pair_labels(labels, OFFSETS, sources), strict=True):
        assert torch.equal(mask[0][:, sources], found[f'{case}_{name}_label'].bool())
        assert not mask[0][:, ~sources].any()


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize(('reduction', 'name'), [('mean', 'aff_mean'), ('sum', 'aff_l1sum')])
def test_affinities_are_the_published_ones(parity, case, reduction, name):
    found = parity('psa/psa')
    feature = found[f'{case}_feat'][None]
    affinity = torch.exp(-pair_distances(feature, OFFSETS, reduction))[0][:, released_sources(feature, 5)]
    assert torch.allclose(affinity, found[f'{case}_{name}'], rtol=0, atol=1e-12)


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('form', ['official', 'paper'])
def test_loss_and_gradient_are_the_published_ones(parity, case, form):
    found = parity('psa/psa')
    feature = found[f'{case}_feat'][None].requires_grad_()
    pairs = pair_labels(found[f'{case}_label'].long()[None], OFFSETS, released_sources(feature, 5))
    losses = affinity_loss(pair_distances(feature, OFFSETS), pairs, form)
    times = dict(official=1, paper=4)[form]
    for name, weight in dict(bg=.25, fg=.25, neg=.5).items():
        expected = times * weight * found[f'{case}_loss_{name}'].item()
        # float32 counts in the recorded values
        assert losses[f'loss_{name}_pairs'].item() == pytest.approx(expected, rel=1e-7)
    total = sum(losses.values())
    assert total.item() == pytest.approx(times * found[f'{case}_loss'].item(), rel=1e-7)
    gradient, = torch.autograd.grad(total, feature)
    assert torch.allclose(gradient[0], times * found[f'{case}_grad_feat'], rtol=1e-6, atol=1e-9)


def test_isolated_pixels_are_a_matter_of_the_published_pairs(parity):
    for case in CASES:
        isolated = parity('psa/psa')[f'{case}_isolated'].long()
        labels = parity('psa/psa')[f'{case}_label'].long()[None] * 0
        for sources, count in ((released_sources(labels, 5), len(isolated)), (None, 0)):
            known = pair_labels(labels, OFFSETS, sources).background[0]
            touched = known.any(0)
            for p, (dy, dx) in enumerate(OFFSETS.tolist()):
                y, x = known[p].nonzero().T
                touched[y + dy, x + dx] = True
            assert (~touched).sum() == count
            if count:
                assert torch.equal((~touched).flatten().nonzero().flatten(), isolated)


def test_gradient_of_distances():
    torch.manual_seed(0)
    features = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    near = neighbour_offsets(3)
    for reduction in ('mean', 'sum'):
        assert torch.autograd.gradcheck(lambda f, r=reduction: pair_distances(f, near, r), features)
    pairs = pair_labels(torch.randint(0, 3, (2, 3, 4)), OFFSETS)
    assert torch.autograd.gradcheck(
        lambda f: sum(affinity_loss(pair_distances(f, OFFSETS), pairs).values()), features)


def test_pairs_by_hand():
    labels = torch.tensor([[[0, 0, 1], [2, 255, 1]]])
    background, foreground, different = (mask.sum().item() for mask in pair_labels(labels, OFFSETS))
    # (0,0)-(0,1) | (0,2)-(1,2) | the other 8 of the 10 pairs of the five known pixels
    assert (background, foreground, different) == (1, 1, 8)


@pytest.mark.parametrize('size', [(1, 1), (3, 4), (4, 20)])
def test_small_maps_and_nothing_known(size):
    features = torch.rand(1, 4, *size, requires_grad=True)
    pairs = pair_labels(torch.full((1, *size), 255), OFFSETS)
    losses = affinity_loss(pair_distances(features, OFFSETS), pairs)
    assert all(value == 0 for value in losses.values())
    sum(losses.values()).backward()
    assert (features.grad == 0).all()
    assert not released_sources(features, 5).any()


def test_batch_is_its_images():
    """Distances of each image alone; the loss is a mean over the pairs of all."""
    torch.manual_seed(0)
    features, labels = torch.rand(3, 4, 7, 8), torch.randint(0, 3, (3, 7, 8))
    whole = pair_distances(features, OFFSETS)
    assert torch.equal(whole, torch.cat([pair_distances(f[None], OFFSETS) for f in features]))
    total = affinity_loss(whole, pair_labels(labels, OFFSETS))['loss_neg_pairs']
    parts, counts = [], []
    for i in range(3):
        pairs = pair_labels(labels[i:i + 1], OFFSETS)
        parts.append(affinity_loss(whole[i:i + 1], pairs)['loss_neg_pairs'])
        counts.append(pairs.different.sum())
    expected = sum(part * count for part, count in zip(parts, counts, strict=True)) / sum(counts)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_mirrored_features_give_the_same_loss():
    torch.manual_seed(0)
    features, labels = torch.rand(1, 4, 9, 8, dtype=torch.float64), torch.randint(0, 3, (1, 9, 8))

    def loss(f, x):
        return sum(affinity_loss(pair_distances(f, OFFSETS), pair_labels(x, OFFSETS)).values()).item()
    assert loss(features.flip(3), labels.flip(2)) == pytest.approx(loss(features, labels), rel=1e-12)
    assert loss(features.flip(2), labels.flip(1)) == pytest.approx(loss(features, labels), rel=1e-12)


def test_half_precision_is_computed_in_float32():
    torch.manual_seed(0)
    features = torch.rand(1, 4, 6, 6).to(torch.bfloat16).requires_grad_()
    distances = pair_distances(features, OFFSETS)
    assert distances.dtype == torch.float32
    assert torch.equal(distances, pair_distances(features.detach().float(), OFFSETS))
    distances.sum().backward()
    assert features.grad.dtype == torch.bfloat16


def test_network_learns_from_labels_of_its_cells():
    """Every weight gets a gradient; of a cell's labels the loss sees one, so cells of one label lose nothing."""
    model = network()
    inputs, cells = torch.randn(2, 3, 32, 36), torch.randint(0, 7, (2, 8, 9))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=c.repeat_interleave(4, 0).repeat_interleave(4, 1)[None]))
               for c in cells]
    losses = model(inputs, samples, 'loss')
    expected = affinity_loss(pair_distances(model.features(inputs), OFFSETS), pair_labels(cells, OFFSETS))
    assert losses.keys() == expected.keys()
    assert all(losses[k].item() == pytest.approx(expected[k].item(), rel=1e-4) for k in losses)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_predicted_affinities():
    model = network().eval()
    inputs = torch.randn(2, 3, 30, 33)
    with torch.no_grad():
        affinity = model.predict(inputs)['affinity']
        padded = torch.zeros(2, 3, 32, 36)
        padded[..., :30, :33] = inputs
        assert affinity.shape == (2, 34, 8, 9)
        assert torch.equal(affinity, model.predict(padded)['affinity'])
        assert 0 < affinity.min() and affinity.max() <= 1
        features = model.features(padded)
        p = OFFSETS.tolist().index([2, -1])
        expected = torch.exp(-(features[0, :, 3, 4] - features[0, :, 5, 3]).abs().mean())
        assert affinity[0, p, 3, 4].item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.allclose(model.predict(inputs[1:])['affinity'], affinity[1:], atol=1e-5)
        model.legacy_pairs = True
        sources = released_sources(affinity, 5)
        assert torch.equal(model.predict(inputs)['affinity'], affinity * sources)


@pytest.mark.parametrize(('changes', 'match'), [
    (dict(distance='max'), 'distance'), (dict(loss='none'), 'loss'), (dict(radius=1), 'radius')])
def test_wrong_settings(changes, match):
    with pytest.raises(ConfigError, match=match):
        network(**changes)


def test_stages_of_different_strides_are_refused():
    model = MODELS.build(dict(
        type='wsss_mm.AffinityNet', backbone=dict(type='wsss_mm.ToyNet', output_stride=8, out_indices=(0, 2)),
        branches=[dict(in_index=0, in_channels=64, channels=4), dict(in_index=1, in_channels=96, channels=4)]))
    with pytest.raises(ConfigError, match='16, 16'):
        model.predict(torch.zeros(1, 3, 64, 64))
