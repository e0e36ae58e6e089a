"""GAIN's objectives: attention mining, and attention under masks and boxes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.heads.base import full_precision, present_pairs
from wsss_mm.models.objectives import Objective, extra_pass
from wsss_mm.models.objectives.attention import (
    area_resize,
    box_union,
    class_attention,
    l_am,
    l_bbox,
    l_p,
    minmax_normalize,
)
from wsss_mm.registry import MODELS

TOY = dict(type='wsss_mm.ToyNet', channels=(8, 8, 12))
MINING = dict(type='wsss_mm.AttentionMining')
SUPERVISION = dict(type='wsss_mm.AttentionSupervision', prior='outside')


@MODELS.register_module(force=True)
class MirrorTrunk(nn.Module):
    """Two convolutions whose kernels are their own mirror images."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        with torch.no_grad():
            for weight in (self.conv1.weight, self.conv2.weight):
                weight.add_(weight.flip(3))

    def forward(self, x):
        return (F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2))),)


class Silent(Objective):
    """Counts its calls."""

    def loss(self, classifier, inputs, feats, data_samples):
        return dict(loss_silent=inputs.new_ones(())) if self.active() else {}


def build(seed=0, **options):
    torch.manual_seed(seed)
    # Weights above 0, so that every class has some evidence.
    init = dict(type='Uniform', layer='Conv2d', a=.1, b=1.)
    head = dict(type='wsss_mm.GAPHead', num_classes=3, in_channels=12, init_cfg=init)
    model = MODELS.build(dict(type='wsss_mm.CAMClassifier', **dict(dict(backbone=TOY, head=head), **options)))
    model.init_weights()
    return model


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


def images_and_samples():
    """Four images: a mask with ignored pixels, boxes with a prior, tags alone, nothing."""
    torch.manual_seed(1)
    mask = torch.zeros(32, 40, dtype=torch.uint8)
    mask[4:20, 8:24], mask[20:, 24:], mask[:, 38:] = 1, 3, 255
    prior = torch.zeros(32, 40, dtype=torch.uint8)
    prior[6:22, 4:17], prior[28:] = 200, 255
    return torch.randn(4, 3, 32, 40), [
        sample([1, 0, 1], mask=mask), sample([0, 1, 0], boxes=[((4, 6, 17, 22), 1), ((0, 0, 3, 3), 2)], prior=prior),
        sample([0, 1, 1]), sample([0, 0, 0])]


def flipped(samples):
    """The samples of the images turned over."""
    result = []
    for old in samples:
        new = copy.deepcopy(old)
        for field in ('gt_sem_seg', 'gt_prior'):
            if field in new:
                new.set_data({field: PixelData(data=getattr(new, field).data.flip(2))})
        if 'gt_instances' in new:
            box = new.gt_instances.bboxes
            new.gt_instances.bboxes = torch.stack([40 - box[:, 2], box[:, 1], 40 - box[:, 0], box[:, 3]], 1)
        result.append(new)
    return result


@pytest.mark.parametrize('chunk', [None, 2])
def test_batch_is_the_mean_of_its_images_and_order_does_not_matter(chunk):
    images, samples = images_and_samples()
    model = build(objectives=[dict(MINING, chunk=chunk), SUPERVISION]).eval()
    whole = model(images, samples, mode='loss')
    single = [model(images[i:i + 1], samples[i:i + 1], mode='loss') for i in range(4)]
    assert whole['empty_maps'] == 0 and whole['loss_am'] > 0 and whole['loss_p'] > 0 and whole['loss_bbox'] > 0
    torch.testing.assert_close(whole['loss_am'], sum(s['loss_am'] for s in single[:3]) / 3)
    torch.testing.assert_close(whole['loss_p'], single[0]['loss_p'])
    torch.testing.assert_close(whole['loss_bbox'], single[1]['loss_bbox'])
    assert single[3]['loss_am'] == 0 and single[0]['loss_bbox'] == 0 and single[2]['loss_p'] == 0
    swapped = build(objectives=[SUPERVISION, MINING]).eval()(images, samples, mode='loss')
    backwards = model(images.flip(0), samples[::-1], mode='loss')
    for name in ('loss_am', 'loss_p', 'loss_bbox', 'empty_maps', 'blank_priors'):
        torch.testing.assert_close(swapped[name], whole[name])
        torch.testing.assert_close(backwards[name], whole[name])


def test_flipped_images_give_the_same_supervision():
    images, samples = images_and_samples()
    model = build(objectives=[dict(MINING), dict(SUPERVISION)], backbone=dict(type='wsss_mm.MirrorTrunk'),
                  head=dict(type='wsss_mm.GAPHead', num_classes=3, in_channels=8)).double()
    found = model(images.double().flip(3), flipped(samples), mode='loss')
    for name, value in model(images.double(), samples, mode='loss').items():
        torch.testing.assert_close(found[name], value)


def test_supervision_pulls_the_attention_into_the_mask():
    images, samples = images_and_samples()
    model = build(objectives=[SUPERVISION])
    pairs = present_pairs(torch.stack([s.gt_label for s in samples]))[:2]
    own = torch.stack([samples[0].gt_sem_seg.data[0] == c for c in (1, 3)]).float()

    def inside():
        attention = class_attention(model.head, model.eval().extract_feat(images)[0].detach(), pairs)
        return ((attention * area_resize(own, attention.shape[1:])).sum((1, 2)) / attention.sum((1, 2))).mean()
    before, optimizer = inside(), torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        model.parse_losses(model.train()(images, samples, mode='loss'))[0].backward()
        optimizer.step()
    assert inside() > before + .2


def test_ignored_pixels_do_not_count():
    images, samples = images_and_samples()
    model = build(objectives=[SUPERVISION]).eval()
    before = model(images[:1], samples[:1], mode='loss')['loss_p']
    ignored = copy.deepcopy(samples[0])
    ignored.gt_sem_seg.data[0, :4] = 255  # a whole row of cells
    attention = minmax_normalize(class_attention(model.head, model.extract_feat(images[:1])[0],
                                                 torch.tensor([[0, 0], [0, 2]])))
    valid = torch.ones(2, 8, 10)
    valid[:, 0], valid[:, :, -1] = 0, valid[:, :, -1] / 2
    target = torch.stack([area_resize((ignored.gt_sem_seg.data == c).float(), (8, 10))[0] for c in (1, 3)])
    target = target / area_resize((ignored.gt_sem_seg.data != 255).float(), (8, 10)).clamp_min(1e-6)
    found = model(images[:1], [ignored], mode='loss')['loss_p']
    valid[:, 0] = 0
    torch.testing.assert_close(found, 10 * l_p(attention, target, torch.tensor([0, 0]), 1, valid))
    assert found != before
    ignored.gt_sem_seg.data[:] = 255
    assert model(images[:1], [ignored], mode='loss')['loss_p'] == 0


def test_classes_that_a_crop_lost_are_skipped_or_have_nothing_to_look_at():
    images, samples = images_and_samples()
    cropped = copy.deepcopy(samples)
    cropped[0].gt_label = torch.ones(3)  # class 1 is in the image, not in the crop
    cropped[1].gt_label = torch.ones(3)  # class 0 has no box; class 2 has one with nothing in the prior
    model = build(objectives=[SUPERVISION]).eval()
    skipped, plain = (model(images, s, mode='loss') for s in (cropped, samples))
    torch.testing.assert_close(skipped['loss_p'], plain['loss_p'])
    assert skipped['blank_priors'] == 1 and plain['blank_priors'] == 0
    model.objectives[0].absent = 'zero'
    maps = minmax_normalize(class_attention(model.head, model.extract_feat(images)[0], torch.tensor([[0, 1]])))
    valid = torch.ones(8, 10)
    valid[:, -1] = .5
    zero = 10 * (valid * maps[0].square()).sum() / valid.sum()
    torch.testing.assert_close(model(images, cropped, mode='loss')['loss_p'], (2 * plain['loss_p'] + zero) / 3)
    samples[1].gt_instances = samples[1].gt_instances[:0]
    model.objectives[0].absent = 'skip'
    losses = model(images, samples, mode='loss')
    assert losses['loss_bbox'] == 0 and losses['blank_priors'] == 0
    assert all(g.isfinite().all() for g in gradients(model, model.parse_losses(losses)[0]).values())


def test_missing_blank_and_unknown_priors():
    images, samples = images_and_samples()
    image, (boxed,) = images[1:2], samples[1:2]
    model = build(objectives=[dict(SUPERVISION, mask_weight=0)]).eval()

    def loss(**fields):
        return model(image, [sample([0, 1, 0], boxes=[((4, 6, 17, 22), 1)], **fields)], mode='loss')
    outside, with_prior = loss(), loss(prior=boxed.gt_prior.data[0])
    assert 'loss_p' not in outside and outside['loss_bbox'] > 0 and with_prior['loss_bbox'] > outside['loss_bbox']
    blank, unknown = (loss(prior=torch.full((32, 40), v, dtype=torch.uint8)) for v in (0, 255))
    torch.testing.assert_close(blank['loss_bbox'], outside['loss_bbox'])
    torch.testing.assert_close(unknown['loss_bbox'], outside['loss_bbox'])
    assert blank['blank_priors'] == 1 and outside['blank_priors'] == unknown['blank_priors'] == 0
    padding = torch.zeros(32, 40, dtype=torch.uint8)
    padding[:, 20:] = 255
    attention = minmax_normalize(class_attention(model.head, model.extract_feat(image)[0], torch.tensor([[0, 1]])))
    boxes = area_resize(box_union(torch.tensor([[4., 6, 17, 22]]), torch.tensor([0]), 1, 32, 40), (8, 10))
    expected = 10 * ((1 - boxes) * attention).square()[:, :, :5].mean()
    torch.testing.assert_close(loss(bg=padding)['loss_bbox'], expected)
    model.objectives[0].prior = 'require'
    with pytest.raises(ConfigError, match='images/cat.jpg: an image with boxes has no `gt_prior`'):
        loss()


def test_prior_known_in_part():
    images, _ = images_and_samples()
    model = build(objectives=[dict(SUPERVISION, mask_weight=0)]).eval()
    prior, padding = torch.full((32, 40), 127, dtype=torch.uint8), torch.zeros(32, 40, dtype=torch.uint8)
    prior[:, 2], prior[:, 4:6], padding[:, 32:] = 255, 255, 255
    boxed = sample([0, 1, 0], boxes=[((0, 0, 40, 16), 1)], prior=prior, bg=padding)
    maps = minmax_normalize(class_attention(model.head, model.extract_feat(images[1:2])[0], torch.tensor([[0, 1]])))
    known, valid = torch.ones(1, 8, 10), torch.ones(1, 8, 10)
    known[..., 0], known[..., 1], known[..., 8:], valid[..., 8:] = .75, .5, 0, 0  # what is known is .5 throughout
    boxes, half = torch.zeros(1, 8, 10), torch.full((1, 8, 10), .5)
    boxes[:, :4] = 1
    expected = 10 * l_bbox(maps, boxes, half, torch.tensor([0]), 1, valid, known)
    torch.testing.assert_close(model(images[1:2], [boxed], mode='loss')['loss_bbox'], expected)


def test_options_of_the_modules():
    images, samples = images_and_samples()
    model = build(objectives=[dict(MINING, loss_weight=.25), SUPERVISION]).eval()
    mining, supervision = model.objectives
    pairs = torch.tensor([[0, 0], [0, 2]])
    scaled = model(images, samples, mode='loss')['loss_am']
    mining.loss_weight = 1.
    torch.testing.assert_close(4 * scaled, model(images, samples, mode='loss')['loss_am'])
    raw = class_attention(model.head, model.extract_feat(images)[0], pairs)
    seg = samples[0].gt_sem_seg.data
    valid = area_resize((seg != 255).float(), (8, 10)).expand(2, -1, -1)
    target = area_resize(torch.cat([seg == 1, seg == 3]).float(), (8, 10)) / valid
    supervision.normalized, supervision.reduction = False, 'sum'
    expected = l_p(raw, target, pairs[:, 0], 1, valid, reduction='sum')
    torch.testing.assert_close(model(images, samples, mode='loss')['loss_p'], 10 * expected)


def test_masks_go_before_boxes_and_no_tags_mean_no_further_pass():
    images, samples = images_and_samples()
    model = build(objectives=[MINING, SUPERVISION]).eval()
    both = sample([1, 0, 1], mask=samples[0].gt_sem_seg.data[0], boxes=[((4, 4, 20, 20), 0)])
    losses, plain = (model(images[:1], [s], mode='loss') for s in (both, samples[0]))
    assert losses['loss_bbox'] == 0 and losses['loss_p'] == plain['loss_p']
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    losses = model(images[3:], samples[3:], mode='loss')
    assert losses['loss_am'] == 0 and len(passes) == 1
    assert gradients(model, losses['loss_am'])['backbone.stem.0.weight'].abs().max() == 0  # and a graph there is


@pytest.mark.parametrize('norm', ['eval', 'batch'])
def test_masked_images_leave_batch_norm_alone(norm):
    images, samples = images_and_samples()
    plain, mining = build(), build(objectives=[dict(MINING, norm=norm)])
    plain(images, samples, mode='loss')
    mining(images, samples, mode='loss')
    for name, value in plain.named_buffers():
        torch.testing.assert_close(mining.get_buffer(name), value)
    mining.objectives[0].norm = 'train'
    mining.load_state_dict(build().state_dict(), strict=False)
    mining(images, samples, mode='loss')
    assert mining.backbone.stem[1].num_batches_tracked == 2
    assert all(m.training for m in mining.modules())


def test_a_later_pass_that_moves_the_statistics_leaves_the_gradient_right():
    model, (images, _) = build(), images_and_samples()
    maps = extra_pass(model, images)[0]
    expected = gradients(model, maps.square().sum())
    extra_pass(model, 5 * images + 3, norm='train')
    for name, found in gradients(model, maps.square().sum()).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-6, atol=0)


def test_a_pass_normalised_by_its_own_statistics():
    """``'batch'`` computes what ``'train'`` does, ``'eval'`` what the network computes in use."""
    model, (images, _) = build(), images_and_samples()
    own, running = extra_pass(model, 3 * images, norm='batch')[0], extra_pass(model, 3 * images, norm='eval')[0]
    torch.testing.assert_close(model.eval().extract_feat(3 * images)[0], running)
    torch.testing.assert_close(extra_pass(model.train(), 3 * images, norm='train')[0], own)
    assert (own - running).abs().max() > .1


def test_state_comes_back_after_an_error():
    model = build()
    model.backbone.stem[1].eval()
    model.head.requires_grad_(False)
    before = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    with pytest.raises(RuntimeError):
        extra_pass(model, torch.randn(1, 5, 32, 32), frozen=True)
    assert before == ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()])
    with pytest.raises(ConfigError, match="norm='none'"):
        extra_pass(model, torch.randn(1, 3, 32, 32), norm='none')


@pytest.mark.parametrize('chunk', [None, 2])
def test_attention_only_reaches_the_weights_through_the_mask(chunk):
    images, samples = images_and_samples()
    model = build(objectives=[dict(MINING, update='attention_only', chunk=chunk)]).eval()
    found = gradients(model, model(images, samples, mode='loss')['loss_am'])
    judge = copy.deepcopy(model).requires_grad_(False)
    pairs = present_pairs(torch.stack([s.gt_label for s in samples]))
    attention = class_attention(model.head, model.extract_feat(images)[0], pairs)
    scores = judge(model.objectives[0].mask(images, attention, pairs[:, 0]))
    expected = gradients(model, l_am(scores, pairs, 4))
    assert found['head.classifier.weight'].abs().max() == 0 and found['backbone.stem.0.weight'].abs().max() > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize('head', [
    dict(type='wsss_mm.GMPHead'), dict(type='wsss_mm.HSPPHead'), dict(type='wsss_mm.GPPHead')], ids=lambda h: h['type'])


def test_any_head_and_backbone(head):
    images, samples = images_and_samples()
    backbone = dict(type='mmseg.MobileNetV2', widen_factor=.25, out_indices=(2,))
    model = build(backbone=backbone, head=dict(head, num_classes=3, in_channels=8), objectives=[MINING, SUPERVISION])
    losses = model(images, samples, mode='loss')
    assert losses['loss_am'] > 0
    found = gradients(model, model.parse_losses(losses)[0])
    assert all(g.isfinite().all() for g in found.values())
    assert found['backbone.conv1.conv.weight'].abs().max() > 0


def test_autocast_computes_the_maps_in_full_precision():
    images, samples = images_and_samples()
    model = build(objectives=[MINING, SUPERVISION]).eval()
    exact = model(images, samples, mode='loss')
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(images, samples, mode='loss')
        feature_map = model.extract_feat(images)[0]
        assert feature_map.dtype == torch.bfloat16
        assert not extra_pass(model, images, frozen=True)[0].requires_grad  # autocast keeps cast copies of weights
        pairs = torch.tensor([[0, 0]])
        attention = class_attention(model.head, feature_map, pairs)
    torch.testing.assert_close(attention, class_attention(model.head, full_precision(feature_map), pairs))
    for name in ('loss_am', 'loss_p', 'loss_bbox'):
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], exact[name], rtol=.05, atol=0)


def test_objectives_begin_late():
    hub, objective = MessageHub.get_current_instance(), Silent(begin=3)
    one = (None, torch.ones(1), (), ())
    assert objective.loss(*one)  # nobody counts
    images, samples = images_and_samples()
    model = build(objectives=[dict(MINING, begin=3), dict(SUPERVISION, begin=4)])
    try:
        for iteration, expected in ((2, set()), (3, {'loss_am'}), (4, {'loss_am', 'loss_p', 'loss_bbox'})):
            hub.update_info('iter', iteration)
            assert bool(objective.loss(*one)) == (iteration >= 3)
            found = {k for k in model(images, samples, mode='loss') if 'loss' in k}
            assert found == expected | {'loss_cls'}
    finally:
        hub.runtime_info.pop('iter')


def test_what_does_not_fit_is_named():
    images, samples = images_and_samples()
    model = build(objectives=[SUPERVISION])
    samples[0].gt_sem_seg = PixelData(data=torch.zeros(1, 30, 40, dtype=torch.uint8))
    with pytest.raises(DataError, match='images/cat.jpg: `gt_sem_seg` is 30 x 40 .*32 x 40'):
        model(images, samples, mode='loss')
    for options in (dict(MINING, score='prob'), dict(MINING, update='all'), dict(MINING, norm='off'),
                    dict(SUPERVISION, prior='ones'), dict(SUPERVISION, absent='keep'),
                    dict(SUPERVISION, reduction='max'), dict(SUPERVISION, resolution='map'),
                    dict(SUPERVISION, box_resize='bilinear')):
        name, value = list(options.items())[-1]
        with pytest.raises(ConfigError, match=f"{name}='{value}'"):
            MODELS.build(options)
    one = torch.zeros(1, 2, 2)
    with pytest.raises(ConfigError, match="reduction='max'"):
        l_p(one, one, torch.zeros(1, dtype=torch.long), 1, reduction='max')
    with pytest.raises(ConfigError, match="score='prob'"):
        l_am(one[0], torch.zeros(2, 2, dtype=torch.long), 1, 'prob')
