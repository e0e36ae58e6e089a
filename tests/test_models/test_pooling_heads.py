"""Pooling heads: numbers by hand, Grad-CAM's weights, and what bad or empty input does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads import BAPHead, GAPHead, GMPHead, GPPHead, HSPPHead, present_pairs, stack_tags
from wsss_mm.models.heads import gated_pyramid_pooling as gpp
from wsss_mm.models.heads.hspp_head import hybrid_pyramid_pool
from wsss_mm.models.necks import EmbeddingNeck
from wsss_mm.registry import MODELS

close = torch.testing.assert_close
AVERAGING = [(GAPHead, {}), (GMPHead, {}), (GMPHead, dict(on='maps')), (HSPPHead, {}),
             (HSPPHead, dict(remainder='official', gamma=.5)), (BAPHead, {})]
EVERY = [*AVERAGING, (GPPHead, {}), (GPPHead, dict(aggregate='average')), (GPPHead, dict(bins=(16, 8, 4, 2))),
         (GPPHead, dict(bins=(4,)))]


def build(kind, options, classes=4, channels=6):
    torch.manual_seed(0)
    head = kind(classes, channels, **options)
    head.init_weights()
    torch.nn.init.normal_(head.classifier.weight)
    return head


def tagged(tags):
    return [SegDataSample(gt_label=torch.as_tensor(tag, dtype=torch.float32)) for tag in tags]


# Gated pyramid pooling

def cell_means(size, bins):
    """Matrix ``(bins, size)`` of adaptive averaging along one side."""
    low = torch.arange(bins) * size // bins
    high = -(-(torch.arange(bins) + 1) * size // bins)
    member = (torch.arange(size) >= low[:, None]) & (torch.arange(size) < high[:, None])
    return member.double() / member.sum(1, keepdim=True)


def linear_weights(size, bins):
    """Matrix ``(size, bins)`` of linear resizing along one side, pixel centres aligned."""
    at = ((torch.arange(size, dtype=torch.float64) + .5) * bins / size - .5).clamp(0, bins - 1)
    return (1 - (at[:, None] - torch.arange(bins)).abs()).clamp_min(0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10 ** 6), height=st.integers(1, 24), width=st.integers(1, 24), bins=st.integers(1, 16))
def test_levels_are_two_matrices_on_any_size(seed, height, width, bins):
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows, columns = (linear_weights(n, bins) @ cell_means(n, bins) for n in (height, width))
    close(gpp.pyramid(maps, (bins,))[0], rows @ maps @ columns.T)


def test_gates_and_logits_by_hand():
    """One pixel and gates of weight zero: each is 1/2, so a level of value v becomes v / 4 with its sign."""
    maps = torch.tensor([[8., -8.]]).view(1, 2, 1, 1)
    zero = torch.zeros(2, 4, 3, 3)
    close(gpp.gated_sum(maps, 3 * maps, zero, zero).flatten(), torch.tensor([8., -8.]))
    close(gpp.gated_sum(maps, -maps, zero, zero).flatten(), torch.zeros(2))
    wide = zero.clone()
    wide[0, 2, 1, 1] = 100.  # gate of the running map: open where the level's class 0 is positive
    close(gpp.gated_sum(maps, 3 * maps, wide, zero).flatten(), torch.tensor([(8 + 12) / 2, -8.]))
    weights = torch.tensor([[2., 2., -2., -2.]]).view(1, 1, 2, 2)
    values = torch.tensor([[3., -3., 3., -5.]]).view(1, 1, 2, 2)
    close(gpp.agreement_logits(weights, values), torch.tensor([[(6. - 10.) / 4]]))  # of unlike signs: nothing


def test_what_aggregates_the_levels():
    maps = torch.randn(2, 4, 13, 9)
    single = [build(GPPHead, dict(bins=(g,))).pooled_maps(maps) for g in (2, 4, 8, 16)]
    average = build(GPPHead, dict(aggregate='average'))
    close(average.pooled_maps(maps), sum(single) / 4)
    assert sum(p.numel() for p in average.parameters()) == average.classifier.weight.numel()
    head = build(GPPHead, dict(bins=(16, 8, 4, 2)))
    running = single[3]
    for level, alpha, beta in zip(single[2::-1], head.alpha, head.beta, strict=True):
        running = gpp.gated_sum(running, level, alpha, beta)
    close(head.pooled_maps(maps), running)
    assert sum(p.numel() for p in GPPHead(20, 8).parameters()) == 20 * 8 + 4320


def test_initial_weights_are_those_of_the_published_codes():
    head, neck, words = GPPHead(20, 256), EmbeddingNeck(512), HSPPHead(20, 2048)
    for module, weight, bound in ((head, head.classifier.weight, (6 / (20 + 256)) ** .5),
                                  (neck, neck.embedding.weight, (6 / (512 + 256)) ** .5),
                                  (words, words.classifier.weight, 2048 ** -.5)):
        before = head.alpha[0].clone()
        module.init_weights()
        assert .98 * bound < weight.abs().max() <= bound
        assert torch.equal(head.alpha[0], before)  # 1/sqrt(fan in), as PyTorch drew it
    assert .9 * 360 ** -.5 < head.alpha[0].abs().max() <= 360 ** -.5


def test_gpp_is_float32_under_autocast():
    head, maps = build(GPPHead, {}), torch.randn(2, 4, 9, 13)
    expected = head.pooled_maps(maps)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(head.pooled_maps(maps), expected)
        features = torch.randn(2, 6, 9, 13)
        class_maps = head.class_maps((features,))
        assert class_maps.dtype == torch.bfloat16
        close(head((features,)), gpp.agreement_logits(head.pooled_maps(class_maps), class_maps.float()))


# Hybrid spatial pyramid pooling

def test_hspp_by_hand():
    features = torch.tensor([[0., 0., 1., 2.], [0., 4., 0., 0.], [0., 0., 0., 0.], [3., 0., 0., 6.]]).view(1, 1, 4, 4)
    expected = (2 * 1 + 6 + (4 + 2 + 3 + 6) / 4 + 1) / 5  # mean 1, maximum 6, quarters, pixels
    close(hybrid_pyramid_pool(features), torch.tensor([[expected]]))
    close(hybrid_pyramid_pool(features, 0., (1,)), torch.tensor([[6.]]))


def test_small_maps():
    """Adaptive cells take any map; the published ones say what would."""
    features = torch.rand(2, 6, 3, 1)
    close(hybrid_pyramid_pool(features, 0., (4,)),  # of 4 cells on 3 rows, the middle ones see two
          torch.stack([features[:, :, 0], features[:, :, :2].amax(2), features[:, :, 1:].amax(2), features[:, :, 2]])
          .mean((0, 3)))
    with pytest.raises(ConfigError, match="3 x 1 .*\n.*4 or more\n.*remainder='adaptive'"):
        build(HSPPHead, dict(remainder='official'))((features,))


# All heads

def test_maximum_of_the_features_and_of_the_maps():
    """Two channels peak at different places: together 5 in the features, but no place has more than 3."""
    features = torch.tensor([[3., 0.], [0., 2.]]).view(1, 2, 1, 2)
    for on, expected in (('features', 5.), ('maps', 3.)):
        head = GMPHead(1, 2, on=on)
        head.classifier.weight.data.fill_(1)
        close(head((features,)), torch.tensor([[expected]]))


@pytest.mark.parametrize('kind, options', EVERY)
def test_a_batch_gives_what_single_images_give(kind, options):
    head, features = build(kind, options), torch.randn(3, 6, 9, 13)
    close(head((features,)), torch.cat([head((one[None],)) for one in features]))
    maps = head.class_maps((features,))
    close(maps[1, 2, 3, 4], head.class_weights[2] @ features[1, :, 3, 4])
    pooled = head.pooled_maps(maps)
    close(pooled[1:2], head.pooled_maps(maps[1:2]))
    if kind is not GPPHead:
        assert pooled is maps


@pytest.mark.parametrize('kind, options', EVERY)
def test_a_mirrored_map_has_the_same_logits(kind, options):
    # Cells of the published hybrid pooling leave out what they do not divide, at the far side.
    head, features = build(kind, options), torch.randn(2, 6, 8 if 'remainder' in options else 11, 16)
    expected = head((features,))
    for gate in (*getattr(head, 'alpha', ()), *getattr(head, 'beta', ())):
        gate.data = gate.flip(3)
    close(head((features.flip(3),)), expected)


@pytest.mark.parametrize('kind, options', EVERY)
@pytest.mark.parametrize('size', [(16, 16), (7, 5)])
def test_gradients(kind, options, size):
    """Random real numbers are away from the kinks of ReLU and maximum."""
    head = build(kind, options, 2, 3).double()
    features = torch.randn(1, 3, *size, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*head.named_parameters(), strict=True)

    def logits(features, *weights):
        return torch.func.functional_call(head, dict(zip(names, weights, strict=True)), ((features,),))

    assert torch.autograd.gradcheck(logits, (features, *weights), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize('kind, options', [case for case in EVERY if case[0] is not BAPHead])
def test_an_empty_map_stays_finite(kind, options):
    head, features = build(kind, options), torch.zeros(2, 6, 9, 13, requires_grad=True)
    loss = head.loss((features,), tagged(torch.eye(4)[:2]))['loss_cls']
    loss.backward()
    close(loss.item(), torch.tensor(2.).log().item())
    assert features.grad.isfinite().all() and all(p.grad.isfinite().all() for p in head.parameters())


# Grad-CAM's weights

def gradcam_by_single_backwards(head, features, pairs):
    """As written: one image and one class at a time."""
    rows = []
    for image, label in pairs.tolist():
        one = features[image:image + 1].detach().requires_grad_()
        rows.append(torch.autograd.grad(head((one,))[0, label], one)[0].mean((2, 3))[0])
    return torch.stack(rows)


@pytest.mark.parametrize('kind, options', EVERY)
def test_gradcam_weights_are_the_mean_gradients(kind, options):
    head, features = build(kind, options), torch.randn(3, 6, 10, 12).relu()
    pairs = present_pairs(torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]))
    with torch.no_grad():  # as in evaluation
        weights = head.gradcam_weights(features, pairs)
    close(weights, gradcam_by_single_backwards(head, features, pairs))
    assert not weights.requires_grad and all(p.grad is None for p in head.parameters())
    assert head.gradcam_weights(features, pairs[:0]).shape == (0, 6)


@pytest.mark.parametrize('kind, options', [(GAPHead, {}), (HSPPHead, {}), (GPPHead, {})])
def test_gradcam_weights_can_be_learnt_through(kind, options):
    head = build(kind, options).double()
    features = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    pairs = torch.tensor([[0, 1], [1, 0], [1, 3]])
    plain = head.gradcam_weights(features, pairs)
    weights = head.gradcam_weights(features, pairs, create_graph=True)
    close(weights.detach(), plain)
    weights.square().sum().backward()
    assert head.classifier.weight.grad[[0, 1, 3]].abs().sum((1, 2, 3)).min() > 0
    if kind is GPPHead:
        def learnt(features, weight):
            head.classifier.weight = weight
            return head.gradcam_weights(features, pairs, create_graph=True)

        weight = head.classifier.weight.detach().clone().requires_grad_()
        del head.classifier.weight
        assert torch.autograd.gradcheck(learnt, (features, weight), eps=1e-7, atol=1e-6)
        constant = head.gradcam_weights(features.detach(), pairs, create_graph=True)  # a frozen backbone
        assert constant.requires_grad


# Tags, part of a batch, training

def test_tags_and_pairs():
    tags = stack_tags(tagged([[0, 1, 1], [0, 0, 0], [1, 0, 0]]), torch.zeros(1, dtype=torch.float64))
    assert tags.dtype == torch.float64
    assert present_pairs(tags).tolist() == [[0, 1], [0, 2], [2, 0]]
    with pytest.raises(ConfigError, match='gt_label'):
        stack_tags([SegDataSample()], tags)


def test_loss_on_the_first_images_alone():
    features, tags = torch.randn(5, 6, 4, 4, requires_grad=True), torch.eye(4)[[0, 1, 2, 3, 0]]
    head = build(GAPHead, dict(loss_images=2))
    loss = head.loss((features,), tagged(tags))['loss_cls']
    head.loss_images = None
    close(loss, head.loss((features[:2],), tagged(tags[:2]))['loss_cls'])
    loss.backward()
    assert features.grad[2:].abs().max() == 0 and head((features,)).shape == (5, 4)
    head.loss_images = 8  # a batch of fewer: all of them
    close(head.loss((features,), tagged(tags)), GAPHead.loss(build(GAPHead, {}), (features,), tagged(tags)))


@pytest.mark.parametrize('head', [dict(type='wsss_mm.GPPHead'), dict(type='wsss_mm.HSPPHead')])
def test_heads_train_on_a_backbone_of_mmseg(head):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='MobileNetV2', out_indices=(2, 4)),
        neck=dict(type='wsss_mm.EmbeddingNeck', in_channels=96, channels=24),
        head=dict(head, num_classes=3, in_channels=24)))
    model.init_weights()
    model.train()
    images, samples = torch.randn(4, 3, 48, 48), tagged([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), 3e-3))
    losses = [model.train_step(dict(inputs=images, data_samples=samples), optimizer)['loss'] for _ in range(25)]
    assert losses[-1] < .6 * losses[0]
    model.zero_grad()
    model.loss(images, samples)['loss_cls'].backward()
    assert model.backbone.conv1.conv.weight.grad.abs().max() > 0


@pytest.mark.parametrize('kind, options, message', [
    (GPPHead, dict(aggregate='fine_to_coarse'), r"aggregate='fine_to_coarse'.*\n.*'average'\n.*bins=\(16, 8, 4, 2\)"),
    (GPPHead, dict(bins=()), r'bins=\(\)'), (GPPHead, dict(bins=(2, 0)), r'bins=\(2, 0\)'),
    (HSPPHead, dict(bins=()), r'bins=\(\)'), (HSPPHead, dict(gamma=-1), 'gamma=-1'),
    (HSPPHead, dict(remainder='drop'), "remainder='drop'"), (GMPHead, dict(on='logits'), "on='logits'"),
    (GAPHead, dict(loss_images=0), 'GAPHead: loss_images=0')])
def test_bad_options_are_named(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        kind(3, 6, **options)


def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match='num_classes=4, but `gt_label` has 3.*\n.*num_classes=3'):
        build(GAPHead, {}).loss((torch.randn(1, 6, 4, 4),), tagged([[1, 0, 0]]))
    with pytest.raises(ConfigError, match='EmbeddingNeck: in_channels=16, .* 12 channels'):
        EmbeddingNeck(16)((torch.randn(1, 12, 4, 4),))
