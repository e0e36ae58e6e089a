"""FickleNet's head against the expanded map of its paper: the fixture, gradients, and what bad or odd input does."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError
from wsss_mm.localization import CAM, AdvCAM, GradCAM
from wsss_mm.models.heads import StochasticHead
from wsss_mm.models.heads.stochastic_head import masked_logits, seen_by_taps
from wsss_mm.registry import MODELS

close = torch.testing.assert_close
CASES = ['s3', 's5', 's9']


def expand(feature_map, size):
    """As the paper says: the windows of a padded map ``(N, D, h, w)`` side by side, ``(N, D, s·h, s·w)``."""
    windows = F.pad(feature_map, [size // 2] * 4).unfold(2, size, 1).unfold(3, size, 1)
    return windows.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def by_position(masks, size):
    """Masks of the expanded map ``(M, s·h, s·w)`` by the position that is seen: ``(M, h, w, s²)``."""
    count, h, w = len(masks), masks.shape[1] // size, masks.shape[2] // size
    windows = masks.view(count, h, size, w, size)
    found = torch.zeros(count, h, w, size ** 2, dtype=masks.dtype)
    for tap in range(size ** 2):
        dy, dx = tap // size - size // 2, tap % size - size // 2
        for y in range(max(0, dy), min(h, h + dy)):
            for x in range(max(0, dx), min(w, w + dx)):
                found[:, y, x, tap] = windows[:, y - dy, tap // size, x - dx, tap % size]
    return found


def head_of(kernel, bias=None, training=False, **options):
    classes, channels, size, _ = kernel.shape
    head = StochasticHead(classes, channels, kernel_size=size, bias=bias is not None, **options).to(kernel.dtype)
    head.classifier.weight.data.copy_(kernel)
    if bias is not None:
        head.classifier.bias.data.copy_(bias)
    return head.train(training)


@pytest.fixture(params=CASES)
def case(request, parity):
    data = parity('ficklenet/ficklenet')
    found = {k[3:]: v for k, v in data.items() if k.startswith(request.param + '_')}
    return found | dict(size=int(request.param[1:]), p=float(found['p']))


# ---------------------------------------------------------------- the fixture

def test_the_fixtures_expansion_is_the_papers(case):
    """The plain form of these tests and of the benchmark."""
    expanded = expand(case['x'][None], case['size'])
    close(expanded[0], case['expanded'])
    masked = expanded * case['masks'][:, None]
    close(F.conv2d(masked, case['W'], case['b'], stride=case['size']), case['out'], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_logits_and_loss(case, dtype, tolerance):
    head = head_of(case['W'].to(dtype), case['b'].to(dtype))
    masks = by_position(case['masks'], case['size']).to(dtype)
    logits = head.logits(case['x'].to(dtype).expand(6, -1, -1, -1), masks)
    close(logits.double(), case['S'], rtol=tolerance, atol=tolerance)
    target = case['target'].expand_as(logits)
    loss = F.multilabel_soft_margin_loss(logits.double(), target.double())
    close(loss, torch.as_tensor(case['sigmoid_ce_mean'].item(), dtype=torch.float64), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_what_taps_give_adds_up_to_the_class_maps(case, dtype, tolerance):
    """Under each mask; folding brings what the positions give to the windows that see them."""
    size, (_, h, w) = case['size'], case['x'].shape
    taps = head_of(case['W'].to(dtype)).tap_maps(case['x'].to(dtype), torch.arange(len(case['W'])))
    given = taps * by_position(case['masks'], size)[..., None]                       # (M, h, w, s², C)
    columns = given.permute(0, 4, 3, 1, 2).flatten(0, 1).flip(1).flatten(2)          # taps turned round
    found = F.fold(columns, (h, w), size, padding=size // 2).view_as(case['out'])
    close(found.double() + case['b'][:, None, None], case['out'], rtol=tolerance, atol=tolerance)


def test_without_dropout_it_is_a_padded_convolution(case):
    head = head_of(case['W'], case['b'], drop_prob=0.)
    close(head.class_maps((case['x'][None],))[0], case['out_nodrop'], rtol=1e-10, atol=1e-12)
    close(head.logits(case['x'][None])[0], case['out_nodrop'].mean((1, 2)), rtol=1e-10, atol=1e-12)
    close(head.train().logits(case['x'][None])[0], case['out_nodrop'].mean((1, 2)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('training', [True, False])
def test_with_all_dropped_the_centre_tap_is_left(case, training):
    head = head_of(case['W'], case['b'], training, drop_prob=1.)
    centre = case['W'][:, :, case['size'] // 2, case['size'] // 2]
    expected = torch.einsum('cd,dhw->chw', centre, case['x']) + case['b'][:, None, None]
    close(head.class_maps((case['x'][None],))[0], expected)
    close(head.logits(case['x'][None])[0], expected.mean((1, 2)))


# ---------------------------------------------------------------- masks, and their mean

@pytest.mark.parametrize('rescale', ['none', 'inverted'])
def test_eval_is_the_mean_over_masks(rescale):
    """Of many drawn ones; and class maps, of which the logits are the mean, and Grad-CAM's weights agree with it."""
    torch.manual_seed(0)
    head = head_of(torch.randn(3, 4, 5, 5, dtype=torch.float64), torch.randn(3), drop_prob=.7, rescale=rescale)
    feature_map = torch.rand(1, 4, 6, 7, dtype=torch.float64)
    mean = head.logits(feature_map)
    close(head.class_maps((feature_map,)).mean((2, 3)), mean)
    drawn = head.train().logits(feature_map.expand(4000, -1, -1, -1))
    close(drawn.mean(0, keepdim=True), mean, rtol=0, atol=5 * drawn.std().item() / 4000 ** .5)
    assert drawn.std(0).min() > .01
    if rescale == 'inverted':
        close(mean, head_of(head.classifier.weight, head.classifier.bias, drop_prob=0.).logits(feature_map))


@pytest.mark.parametrize(('rescale', 'value'), [('none', 1.), ('inverted', 4.)])
def test_drawn_masks(rescale, value):
    """Centres are kept as they are, other taps a quarter of the time, windows outside the map never."""
    torch.manual_seed(0)
    head = StochasticHead(2, 3, kernel_size=3, drop_prob=.75, rescale=rescale)
    masks = head.sample_masks(torch.zeros(500, 3, 4, 5))
    assert masks.shape == (500, 4, 5, 9) and (masks[..., 4] == 1).all()
    assert set(masks[..., :4].unique().tolist()) == {0., value}
    beside = [0, 1, 2, 3, 5, 6, 7, 8]
    kept = (masks[:, 1:-1, 1:-1, beside] > 0).float().mean()
    assert abs(kept - .25) < 4 * (.25 * .75 / (500 * 2 * 3 * 8)) ** .5
    assert (masks[:, 0, :, 6:] == 0).all()      # the last row of taps sees row 0 from row -1
    assert (masks[:, :, -1, ::3] == 0).all()    # the first column of taps sees the last column from beyond it
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 3)])
def test_maps_smaller_than_the_kernel(size):
    torch.manual_seed(0)
    feature_map, kernel = torch.rand(2, 4, *size), torch.randn(3, 4, 7, 7)
    close(head_of(kernel, drop_prob=0.).logits(feature_map), F.conv2d(feature_map, kernel, padding=3).mean((2, 3)))
    assert seen_by_taps(7, size).sum() == torch.tensor([sum(abs(a - b) <= 3 for a in range(n) for b in range(n))
                                                        for n in size]).prod()


@pytest.mark.parametrize('shared', [False, True])
def test_gradients_of_the_training_form(shared):
    torch.manual_seed(0)
    feature_map, kernel, bias = torch.rand(2, 3, 3, 4), torch.randn(2, 3, 3, 3), torch.randn(2)
    masks = (torch.rand(*(() if shared else (2,)), 3, 4, 9) < .5) & seen_by_taps(3, (3, 4))
    values = [v.double().requires_grad_() for v in (feature_map, kernel, bias)]
    assert torch.autograd.gradcheck(lambda x, w, b: masked_logits(x, masks, w, b), values)
    assert torch.autograd.gradgradcheck(lambda x, w, b: masked_logits(x, masks, w, b), values)


def test_a_training_step_is_that_of_the_expanded_map(case):
    """Gradients of features and weights of one mask per image, drawn by the head."""
    head = head_of(case['W'], case['b'], training=True, drop_prob=case['p'])
    feature_map = case['x'].expand(2, -1, -1, -1).clone().requires_grad_()
    samples = [SegDataSample(gt_label=case['target'].float()) for _ in range(2)]
    torch.manual_seed(3)
    head.loss((feature_map,), samples)['loss_cls'].backward()
    torch.manual_seed(3)
    masks = head.sample_masks(feature_map)

    plain = head_of(case['W'], case['b'], drop_prob=case['p'])
    again = feature_map.detach().clone().requires_grad_()
    size, (h, w) = case['size'], case['x'].shape[1:]
    windows = torch.zeros(2, h, size, w, size, dtype=torch.float64)
    for u in range(h):
        for v in range(w):
            for tap in range(size ** 2):
                y, x = u + tap // size - size // 2, v + tap % size - size // 2
                if 0 <= y < h and 0 <= x < w:
                    windows[:, u, tap // size, v, tap % size] = masks[:, y, x, tap]
    masked = expand(again, size) * windows.flatten(3, 4).flatten(1, 2)[:, None]
    maps = F.conv2d(masked, plain.classifier.weight, plain.classifier.bias, stride=size)
    F.multilabel_soft_margin_loss(maps.mean((2, 3)), case['target'].double().expand(2, -1)).backward()
    for found, expected in ((feature_map.grad, again.grad), (head.classifier.weight.grad, plain.classifier.weight.grad),
                            (head.classifier.bias.grad, plain.classifier.bias.grad)):
        close(found, expected, rtol=1e-7, atol=1e-10)      # the loss takes tags in float32


# ---------------------------------------------------------------- as a pooling head

@pytest.mark.parametrize('rescale', ['none', 'inverted'])
def test_gradcam_weights_are_those_of_a_backward(rescale):
    torch.manual_seed(0)
    head = head_of(torch.randn(3, 4, 5, 5, dtype=torch.float64), torch.randn(3), drop_prob=.6, rescale=rescale)
    feature_map, pairs = torch.rand(2, 4, 3, 6, dtype=torch.float64), torch.tensor([[0, 1], [0, 2], [1, 0]])
    found = head.gradcam_weights(feature_map, pairs)
    expected = super(StochasticHead, head).gradcam_weights(feature_map, pairs)
    close(found, expected)
    assert not found.requires_grad and head.gradcam_weights(feature_map, pairs[:0]).shape == (0, 4)
    close(head.train().gradcam_weights(feature_map, pairs), expected)     # the mean over masks in training too
    head.gradcam_weights(feature_map, pairs, create_graph=True).square().sum().backward()
    assert head.classifier.weight.grad.abs().sum() > 0


def classifier_of(size=3, objectives=(), **head):
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 12, 16)),
        head=dict(type='wsss_mm.StochasticHead', num_classes=6, in_channels=16, kernel_size=size, **head),
        objectives=objectives))


def test_objectives_and_other_localizers_work_with_it():
    model = classifier_of(drop_prob=.8, objectives=[
        dict(type='wsss_mm.AttentionMining'), dict(type='wsss_mm.ErasingTriplet', hard_only=False),
        dict(type='wsss_mm.VisualWords', num_classes=6, in_channels=16, num_words=5)])
    inputs, tags = torch.randn(2, 3, 32, 40), torch.tensor([[1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0.]])
    losses = model.train()(inputs, [SegDataSample(gt_label=tag) for tag in tags], 'loss')
    assert {'loss_cls', 'loss_am', 'loss_attract', 'loss_repel', 'loss_word', 'loss_w2i'} <= losses.keys()
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        maps = [localizer.maps(model, inputs, tags > 0) for localizer in (CAM(), GradCAM())]
        logits = model(inputs)
        close(maps[0].mean((1, 2)), logits[tags > 0])
        assert maps[0].shape == maps[1].shape == (3, 8, 10) and torch.equal(model(inputs), logits)
        close(GradCAM('backbone.layer3').maps(model, inputs, tags > 0), maps[1], rtol=1e-3, atol=1e-4)
        climbed = list(AdvCAM(steps=4).trace(model, inputs, tags > 0))
        assert climbed[-1].shape == maps[0].shape and climbed[-1].isfinite().all() and climbed[-1].max() > 0


def test_float32_under_autocast():
    torch.manual_seed(0)
    head, feature_map = StochasticHead(3, 8, kernel_size=5), torch.rand(2, 8, 6, 6)
    head.init_weights()
    masks = head.sample_masks(feature_map)
    expected = head.logits(feature_map, masks)
    with torch.autocast('cpu', torch.bfloat16):
        found = head.logits(feature_map, masks)
        assert head.class_maps((feature_map,)).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    close(found, expected)
    close(head.logits(feature_map.bfloat16(), masks), expected, rtol=.02, atol=.02)


@pytest.mark.parametrize(('options', 'words'), [
    (dict(kernel_size=4), ('kernel_size=4', 'set kernel_size=5')), (dict(kernel_size=0), ('kernel_size=1',)),
    (dict(kernel_size=-3), ('kernel_size=1',)), (dict(drop_prob=1.2), ('drop_prob=1.2', 'in [0, 1]')),
    (dict(rescale='inverse'), ("'inverted'",)), (dict(rescale='inverted', drop_prob=1.), ('divided by 0',)),
    (dict(has_background=True), ('BAPHead',)), (dict(loss_images=0), ('loss_images=0',))])
def test_bad_settings(options, words):
    with pytest.raises(ConfigError) as caught:
        StochasticHead(4, 8, **options)
    assert all(word in str(caught.value) for word in words)


def test_weights_of_a_1x1_classifier():
    """The same class maps of constant features, away from the border; Grad-CAM's weights are near them."""
    torch.manual_seed(0)
    head = head_of(torch.randn(3, 4, 5, 5), drop_prob=.7)
    constant = torch.rand(1, 4, 1, 1)
    maps = head.class_maps((constant.expand(-1, -1, 7, 7),))
    close(maps[0, :, 3, 3], head.class_weights @ constant.flatten())
    wide = torch.zeros(1, 4, 99, 99)
    weights = head.gradcam_weights(wide, torch.tensor([[0, 0], [0, 1], [0, 2]])) * 99 ** 2
    close(weights, head.weight_matrix, rtol=0, atol=.05 * head.weight_matrix.abs().max().item())


def test_features_of_another_width():
    head = StochasticHead(4, 8)
    with pytest.raises(ConfigError, match='in_channels=8'):
        head((torch.zeros(1, 7, 3, 3),))
