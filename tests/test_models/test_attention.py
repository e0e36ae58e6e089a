"""GAIN on its fixture, and the maths of attention maps and their losses by hand."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.models.heads import BasePoolingHead
from wsss_mm.models.objectives.attention import (
    area_resize,
    box_union,
    class_attention,
    gradcam,
    l_am,
    l_bbox,
    l_p,
    minmax_normalize,
    per_image_mean,
    soft_mask,
)
from wsss_mm.registry import MODELS

CLOSE = dict(rtol=1e-9, atol=1e-12)
SETTINGS = ((10, .5), (8, .5), (30, .6), (100, .25))
MINING = dict(type='wsss_mm.AttentionMining')
SUPERVISION = dict(type='wsss_mm.AttentionSupervision', prior='outside')
both_heads = pytest.mark.parametrize('kind', ['gap', 'fc'])


@MODELS.register_module(force=True)
class TinyTrunk(nn.Module):
    """The fixture's two convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)

    def forward(self, x):
        return (F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2))),)


@MODELS.register_module(force=True)
class BiasedGAP(BasePoolingHead):
    """Global average pooling, and the bias that the fixture's linear layer has."""

    averages = True

    def __init__(self):
        super().__init__(4, 8)
        self.bias = nn.Parameter(torch.zeros(4))

    def logits(self, feature_map):
        return F.linear(feature_map.mean((2, 3)), self.class_weights, self.bias)


@MODELS.register_module(force=True)
class TinyFC(BasePoolingHead):
    """Hidden layers after pooling, as VGG16's: no class map, so Grad-CAM needs a backward."""

    def __init__(self):
        super().__init__(4, 8)
        self.fc1, self.fc2 = nn.Linear(128, 10), nn.Linear(10, 4)

    def logits(self, feature_map):
        return self.fc2(F.relu(self.fc1(F.avg_pool2d(feature_map, 2).flatten(1))))


def sample(tags, **fields):
    """One image's labels; ``mask``, ``prior``, ``bg`` are (H, W), ``boxes`` a list of (box, class index)."""
    result = SegDataSample(metainfo=dict(img_path='images/cat.jpg'))
    result.set_data(dict(gt_label=torch.tensor(tags, dtype=torch.float32)))
    for name, field in (('mask', 'gt_sem_seg'), ('prior', 'gt_prior'), ('bg', 'gt_bg_mask')):
        if name in fields:
            result.set_data({field: PixelData(data=fields[name][None])})
    if 'boxes' in fields:
        boxes = [box for box, _ in fields['boxes']]
        result.set_data(dict(gt_instances=InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor([label for _, label in fields['boxes']], dtype=torch.int64))))
    return result


def gradients(model, value):
    """Name -> gradient of every parameter, 0 where none reaches it."""
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
    return {n: torch.zeros_like(w) if g is None else g for n, w, g in zip(names, weights, found, strict=True)}


@pytest.fixture
def tiny(parity):
    """``(fixture, model with its weights, its samples)``."""
    arrays = parity('gain/gain_tiny')

    def make(kind, **options):
        head = dict(type='wsss_mm.BiasedGAP' if kind == 'gap' else 'wsss_mm.TinyFC')
        model = MODELS.build(dict(type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.TinyTrunk'), head=head,
                                  **options)).double()
        with torch.no_grad():
            for name, value in named(model, kind).items():
                value.copy_(arrays[f'param_{name}'].view_as(value))
        return model
    return arrays, make, [sample(tags.tolist()) for tags in arrays['labels']]


def named(model, kind, values=None):
    """The fixture's name -> parameter of the model, or its entry in ``values``."""
    layers = dict(conv1='backbone.conv1', conv2='backbone.conv2')
    names = {f'{k}_{s[0]}': f'{v}.{s}' for k, v in layers.items() for s in ('weight', 'bias')}
    if kind == 'gap':
        names |= dict(gap_w='head.classifier.weight', gap_b='head.bias')
    else:
        names |= {f'fc{i}_{s[0]}': f'head.fc{i}.{s}' for i in (1, 2) for s in ('weight', 'bias')}
    values = dict(model.named_parameters()) if values is None else values
    return {short: values[name] for short, name in names.items()}


@both_heads
def test_attention_of_the_fixture(tiny, kind):
    arrays, make, _ = tiny
    model, pairs = make(kind), arrays['pairs']
    feature_map = model.extract_feat(arrays['img'])[0]
    torch.testing.assert_close(feature_map, arrays[f'{kind}_f'], **CLOSE)
    weights = model.head.gradcam_weights(feature_map, pairs)
    torch.testing.assert_close(weights, arrays[f'{kind}_w'], **CLOSE)
    attention = gradcam(feature_map, weights, pairs[:, 0])
    torch.testing.assert_close(attention, arrays[f'{kind}_A'], **CLOSE)
    torch.testing.assert_close(class_attention(model.head, feature_map, pairs), attention)
    torch.testing.assert_close(minmax_normalize(attention), arrays[f'{kind}_A_norm_feat'], **CLOSE)
    for align, name in ((False, 'A_up'), (True, 'A_up_align_corners')):
        full = F.interpolate(attention[:, None], (16, 16), mode='bilinear', align_corners=align)[:, 0]
        torch.testing.assert_close(full, arrays[f'{kind}_{name}'], **CLOSE)
        masked = MODELS.build(dict(MINING, align_corners=align)).mask(arrays['img'], attention, pairs[:, 0])
        visible = 1 - soft_mask(minmax_normalize(full))
        torch.testing.assert_close(masked, arrays['img'][pairs[:, 0]] * visible[:, None], **CLOSE)
        if not align:
            torch.testing.assert_close(minmax_normalize(full), arrays[f'{kind}_A_norm'], **CLOSE)


@both_heads
@pytest.mark.parametrize(('omega', 'sigma'), SETTINGS)
def test_mining_of_the_fixture(tiny, kind, omega, sigma):
    arrays, make, samples = tiny
    key, pairs = f'{kind}_om{omega}_sg{sigma}', arrays['pairs']
    model = make(kind, objectives=[dict(MINING, omega=omega, sigma=sigma)])
    attention = class_attention(model.head, model.extract_feat(arrays['img'])[0], pairs)
    torch.testing.assert_close(soft_mask(arrays[f'{kind}_A_norm'], omega, sigma), arrays[f'{key}_mask'], **CLOSE)
    masked = model.objectives[0].mask(arrays['img'], attention, pairs[:, 0])
    torch.testing.assert_close(masked, arrays[f'{key}_masked'], **CLOSE)
    logits = model(masked)
    torch.testing.assert_close(logits, arrays[f'{key}_logits_am'], **CLOSE)
    for score in ('logit', 'sigmoid', 'softmax'):
        expected = torch.as_tensor(arrays[f'{key}_L_am_{score}'])
        torch.testing.assert_close(l_am(logits, pairs, 2, score), expected, **CLOSE)
        n_i = arrays['labels'].sum(1)[pairs[:, 0]]
        torch.testing.assert_close((arrays[f'{key}_s_am_{score}'] / n_i / 2).sum(), expected, **CLOSE)
        model.objectives[0].score = score
        losses = model(arrays['img'], samples, mode='loss')
        torch.testing.assert_close(losses['loss_am'], expected, **CLOSE)
        if score == 'sigmoid':
            total, log = model.parse_losses(losses)
            torch.testing.assert_close(total, torch.as_tensor(arrays[f'{key}_L_self']), **CLOSE)
            assert log['empty_maps'] == 0


@both_heads
@pytest.mark.parametrize('detach_weights', [True, False])
@pytest.mark.parametrize('detach_norm', [True, False])
@pytest.mark.parametrize('chunk', [None, 2])
def test_gradients_of_mining_are_the_fixtures(tiny, kind, detach_weights, detach_norm, chunk):
    arrays, make, samples = tiny
    model = make(kind, objectives=[dict(MINING, grad_through_weights=not detach_weights, detach_norm=detach_norm,
                                        chunk=chunk)])
    total, _ = model.parse_losses(model(arrays['img'], samples, mode='loss'))
    check_gradients(arrays, model, kind, total, f'L_self_detachw{detach_weights:d}_detachnorm{detach_norm:d}')


def check_gradients(arrays, model, kind, value, key):
    for name, found in named(model, kind, gradients(model, value)).items():
        expected = arrays.get(f'grad_{kind}_{key}_{name}', torch.zeros_like(found))
        torch.testing.assert_close(found, expected.view_as(found), rtol=1e-8, atol=1e-12)


@both_heads
def test_l_p_and_l_bbox_of_the_fixture(tiny, kind):
    arrays, make, _ = tiny
    image, maps = arrays['pairs'][:, 0], {'': arrays[f'{kind}_A_norm_feat'], 'raw_': arrays[f'{kind}_A']}
    masks = area_resize(arrays['H_img'], (8, 8))
    torch.testing.assert_close(masks, arrays[f'{kind}_H_feat'], **CLOSE)
    prior = area_resize(arrays['S_img'], (8, 8))[image]
    torch.testing.assert_close(prior, arrays[f'{kind}_S_feat'], **CLOSE)
    boxes = F.interpolate(arrays['B_img'][:, None], (8, 8))[:, 0]
    torch.testing.assert_close(boxes, arrays[f'{kind}_B_feat'], **CLOSE)
    for name, attention in maps.items():
        for reduction in ('sum', 'mean'):
            expected = torch.as_tensor(arrays[f'{kind}_L_p_{name}{reduction}'])
            torch.testing.assert_close(l_p(attention, masks, image, 2, reduction=reduction), expected, **CLOSE)
            expected = torch.as_tensor(arrays[f'{kind}_L_bbox_{name}{reduction}'])
            torch.testing.assert_close(l_bbox(attention, boxes, prior, image, 2, reduction=reduction), expected,
                                       **CLOSE)
    torch.testing.assert_close(l_p(arrays[f'{kind}_A_norm'], arrays['H_img'], image, 2),
                               torch.as_tensor(arrays[f'{kind}_L_p_img_mean']), **CLOSE)


@both_heads
@pytest.mark.parametrize('detach_weights', [True, False])
@pytest.mark.parametrize('detach_norm', [True, False])
def test_gradients_of_l_p_and_l_bbox_are_the_fixtures(tiny, kind, detach_weights, detach_norm):
    arrays, make, _ = tiny
    model, image = make(kind), arrays['pairs'][:, 0]
    attention = class_attention(model.head, model.extract_feat(arrays['img'])[0], arrays['pairs'], not detach_weights)
    attention = minmax_normalize(attention)  # the fixture detaches the extremes in L_self alone
    key = f'mean_detachw{detach_weights:d}_detachnorm{detach_norm:d}'
    value = l_p(attention, arrays[f'{kind}_H_feat'], image, 2)
    check_gradients(arrays, model, kind, value, f'L_p_{key}')
    value = l_bbox(attention, arrays[f'{kind}_B_feat'], arrays[f'{kind}_S_feat'], image, 2)
    check_gradients(arrays, model, kind, value, f'L_bbox_{key}')


@both_heads
def test_supervision_module_on_the_fixture(tiny, kind):
    arrays, make, _ = tiny
    # One class an image, since the fixture's masks of one image overlap; uint8 priors as the data set has them.
    pairs, kept = arrays['pairs'][[0, 2]], [0, 2]
    masks, boxes = arrays['H_img'][kept], arrays['B_img'][kept]
    tags = F.one_hot(pairs[:, 1], 4).float().tolist()
    seg = [(m * (c + 1)).to(torch.uint8) for m, c in zip(masks, pairs[:, 1], strict=True)]
    corners = [[m.any(0).nonzero().min(), m.any(1).nonzero().min(), m.any(0).nonzero().max() + 1,
                m.any(1).nonzero().max() + 1] for m in boxes.bool()]
    priors = (arrays['S_img'] * 254).round().to(torch.uint8)
    image, attention = torch.arange(2), arrays[f'{kind}_A_norm_feat'][kept]

    model = make(kind, objectives=[dict(SUPERVISION, mask_weight=3., box_weight=5., box_resize='nearest')])
    losses = model(arrays['img'], [sample(t, mask=s) for t, s in zip(tags, seg, strict=True)], mode='loss')
    torch.testing.assert_close(losses['loss_p'], 3 * l_p(attention, arrays[f'{kind}_H_feat'][kept], image, 2), **CLOSE)
    assert losses['loss_bbox'] == 0
    model.objectives[0].resolution = 'image'
    at_image = model(arrays['img'], [sample(t, mask=s) for t, s in zip(tags, seg, strict=True)], mode='loss')['loss_p']
    torch.testing.assert_close(at_image, 3 * l_p(arrays[f'{kind}_A_norm'][kept], masks, image, 2), **CLOSE)
    model.objectives[0].resolution = 'feature'
    samples = [sample(t, boxes=[(b, int(c))], prior=s)
               for t, b, c, s in zip(tags, corners, pairs[:, 1], priors, strict=True)]
    losses = model(arrays['img'], samples, mode='loss')
    expected = l_bbox(attention, arrays[f'{kind}_B_feat'][kept], area_resize(priors / 254., (8, 8)), image, 2)
    torch.testing.assert_close(losses['loss_bbox'], 5 * expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(expected, l_bbox(attention, arrays[f'{kind}_B_feat'][kept],
                                                arrays[f'{kind}_S_feat'][kept], image, 2), rtol=2e-3, atol=0)


def test_no_positive_evidence_is_the_fixtures_edge_case(tiny):
    arrays, make, samples = tiny
    empty = arrays['edge_A_up'][None].requires_grad_()
    normal = minmax_normalize(empty)
    torch.testing.assert_close(normal[0], arrays['edge_A_norm'])
    torch.testing.assert_close(soft_mask(normal)[0], arrays['edge_mask_om10_sg0.5'], **CLOSE)
    assert torch.autograd.grad(normal.sum(), empty)[0].abs().max() == 0
    model = make('gap', objectives=[MINING])
    with torch.no_grad():
        model.head.classifier.weight[2] = -1  # features are not negative
    losses = model(arrays['img'], samples, mode='loss')
    assert losses['empty_maps'] == 1
    assert all(g.isfinite().all() for g in gradients(model, model.parse_losses(losses)[0]).values())


def test_constant_maps_are_no_attention():
    level = torch.tensor([.1, 0., 7.])[:, None, None] * torch.ones(3, 5, 7)
    full = F.interpolate(level[:, None], (31, 45), mode='bilinear', align_corners=False)[:, 0].requires_grad_()
    assert minmax_normalize(full).abs().max() == 0  # and not the rounding errors of up-sampling, blown up
    one = torch.zeros(1, 3, 3)
    one[0, 1, 1] = 1e-7
    torch.testing.assert_close(minmax_normalize(one)[0, 1, 1], torch.tensor(1.), rtol=1e-4, atol=0)


def test_means_run_over_pairs_then_images():
    image = torch.tensor([0, 0, 2])
    values = torch.tensor([1., 3., 5.])
    assert per_image_mean(values, image, 4) == (2 + 5) / 2  # images 1 and 3 have no pair
    assert per_image_mean(values, image, 4, torch.tensor([False, True, True])) == (3 + 5) / 2
    assert per_image_mean(values, image, 4, torch.tensor([True, True, False])) == 2
    infinite = torch.tensor([1., 3., torch.inf])
    assert per_image_mean(infinite, image, 4, torch.tensor([True, True, False])) == 2
    assert per_image_mean(values[:0], image[:0], 4) == 0


def test_gradcheck():
    torch.manual_seed(0)
    image, pairs = torch.tensor([0, 0, 1]), torch.tensor([[0, 1], [0, 2], [1, 0]])
    raw = torch.rand(3, 3, 4, dtype=torch.float64, requires_grad=True)
    target, prior, valid = torch.rand(3, 3, 3, 4, dtype=torch.float64)
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    for score in ('logit', 'sigmoid', 'softmax'):
        assert torch.autograd.gradcheck(lambda x, s=score: l_am(x, pairs, 2, s), logits)
    for reduction in ('mean', 'sum'):
        assert torch.autograd.gradcheck(
            lambda x, r=reduction: l_p(minmax_normalize(x), target, image, 2, valid, reduction=r), raw)
        assert torch.autograd.gradcheck(
            lambda x, r=reduction: l_bbox(minmax_normalize(x), target, prior, image, 2, valid, reduction=r), raw)
    assert torch.autograd.gradcheck(lambda f, w: soft_mask(minmax_normalize(gradcam(f, w, image))), (features, weights))


def test_area_resize_is_exact_for_every_ratio():
    torch.manual_seed(0)
    maps = torch.rand(2, 12, 15, dtype=torch.float64)
    torch.testing.assert_close(area_resize(maps, (4, 5)), F.interpolate(maps[None], (4, 5), mode='area')[0], **CLOSE)
    for size in ((5, 7), (12, 4), (24, 31)):
        fine = maps.repeat_interleave(size[0], 1).repeat_interleave(size[1], 2)  # cells of whole numbers of pixels
        expected = fine.view(2, size[0], 12, size[1], 15).mean((2, 4))
        torch.testing.assert_close(area_resize(maps, size), expected, **CLOSE)
        torch.testing.assert_close(area_resize(maps.flip(2), size).flip(2), expected, **CLOSE)


def test_union_of_boxes():
    boxes = torch.tensor([[1, 1, 4, 3], [3.9, 2.6, 5.1, 4.2], [-3, -2, 1.5, .5], [5, 4, 99, 99], [20, 1, 30, 3],
                          [2, 2, 4, 4]])
    union = box_union(boxes, torch.tensor([0, 0, 1, 1, 1, 2]), 2, 6, 8)
    expected = torch.zeros(2, 6, 8)
    expected[0, 1:3, 1:4] = expected[0, 2:5, 3:6] = expected[1, :1, :2] = expected[1, 4:, 5:] = 1
    assert torch.equal(union, expected)
    assert box_union(boxes[:0], torch.zeros(0, dtype=torch.long), 1, 2, 3).eq(0).all()


def test_cells_weigh_by_what_is_not_ignored():
    attention = torch.tensor([[[.5, 1.], [.25, 0.]]])
    image, target = torch.zeros(1, dtype=torch.long), torch.tensor([[[1., 1.], [0., .5]]])
    valid = torch.tensor([[[1., .5], [0., 1.]]])
    torch.testing.assert_close(l_p(attention, target, image, 1, valid), torch.tensor((.25 + 0 + .25) / 2.5))
    assert l_p(attention, target, image, 1, 0 * valid) == 0
    pairs, seen = torch.zeros(2, dtype=torch.long), torch.cat([valid, 0 * valid])
    for kept in (None, torch.ones(2, dtype=torch.bool)):  # a map without any valid cell is no map
        found = l_p(attention.repeat(2, 1, 1), target, pairs, 1, seen, kept)
        torch.testing.assert_close(found, l_p(attention, target, image, 1, valid))
    boxes, prior, known = torch.tensor([[[1., 0.], [0., .5]]]), torch.full((1, 2, 2), .5), torch.ones(1, 2, 2)
    known[0, 0, 0] = 0
    found = l_bbox(torch.full((1, 2, 2), .5), boxes, prior, image, 1, prior_valid=known)
    torch.testing.assert_close(found, torch.tensor((.25 + .25 + .0625) / 4))  # A = S, so the surroundings alone
