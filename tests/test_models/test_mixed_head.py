"""One head for images with tags, boxes and masks, and the segmentation branch beside it."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.heads import BAPHead, GAPHead, MixedHead
from wsss_mm.models.heads.mixed_head import class_regions, kind_of
from wsss_mm.registry import MODELS

BOXES = [[8., 8., 40., 40.], [30., 20., 60., 60.]]


def sample(kind, tags=(0, 2)):
    """An image of 64 x 64 with two objects, and what its kind shows of them."""
    result = SegDataSample(gt_label=torch.zeros(4).index_fill(0, torch.tensor(tags), 1.))
    labels, outside = torch.zeros(1, 64, 64, dtype=torch.int64), torch.ones(1, 64, 64, dtype=torch.uint8)
    for (x1, y1, x2, y2), tag in zip(torch.tensor(BOXES).int().tolist(), tags, strict=True):
        labels[:, y1:y2, x1:x2], outside[:, y1:y2, x1:x2] = tag + 1, 0
    labels[:, :2] = 255
    if kind == 'boxes':
        result.gt_instances = InstanceData(bboxes=torch.tensor(BOXES), labels=torch.tensor(tags))
        result.gt_bg_mask = PixelData(data=outside)
    elif kind == 'masks':
        result.gt_sem_seg = PixelData(data=labels)
    return result


def scene(kinds, **options):
    """Head, features with a gradient, samples; the features do not depend on the kinds."""
    torch.manual_seed(0)
    features = torch.rand(len(kinds), 6, 8, 8, requires_grad=True)
    head = MixedHead(4, 6, **options)
    torch.nn.init.normal_(head.classifier.weight, generator=torch.Generator().manual_seed(1))
    return head, features, [sample(kind) for kind in kinds]


def same_weights(head_type, head):
    other = head_type(4, 6)
    rows = head.classifier.weight if other.has_background else head.classifier.weight[1:]
    other.classifier.weight.data = rows.detach().clone()
    return other


def test_the_kind_is_the_most_that_a_sample_shows():
    assert [kind_of(sample(kind)) for kind in ('tags', 'boxes', 'masks')] == ['tags', 'boxes', 'masks']
    both = sample('boxes')
    both.gt_sem_seg = sample('masks').gt_sem_seg
    assert kind_of(both) == 'masks'


@pytest.mark.parametrize('kind, single, name', [('tags', GAPHead, 'loss_cls'), ('boxes', BAPHead, 'loss_bap')])
def test_a_batch_of_one_kind_has_the_loss_of_its_own_head(kind, single, name):
    head, features, samples = scene([kind] * 3)
    losses, other = head.loss((features,), samples), same_weights(single, head)
    expected = other.loss((features,), samples)[name]
    assert losses[name].item() == expected.item() and sum(losses.values()).item() == expected.item()
    sum(losses.values()).backward()
    expected.backward()
    found = head.classifier.weight.grad if kind == 'boxes' else head.classifier.weight.grad[1:]
    torch.testing.assert_close(found, other.classifier.weight.grad, rtol=0, atol=0)
    assert kind == 'boxes' or not head.classifier.weight.grad[0].any()   # tags say nothing of the background


def test_a_mixed_batch_is_the_sum_of_its_parts_by_their_shares_and_weights():
    weights = dict(tag_weight=.5, box_weight=2., mask_weight=3.)
    head, features, samples = scene(['boxes', 'tags', 'masks', 'tags', 'boxes', 'tags'], **weights)
    losses = head.loss((features,), samples)
    for kind, name, rows, weight in (('tags', 'loss_cls', [1, 3, 5], .5), ('boxes', 'loss_bap', [0, 4], 2.),
                                     ('masks', 'loss_region', [2], 3.)):
        alone = scene([kind] * len(rows))[0].loss((features[rows],), [samples[i] for i in rows])[name]
        torch.testing.assert_close(losses[name], weight * len(rows) / 6 * alone)
    parts = [same_weights(GAPHead, head).loss((features[[1, 3, 5]],), [samples[i] for i in (1, 3, 5)])['loss_cls'],
             same_weights(BAPHead, head).loss((features[[0, 4]],), [samples[i] for i in (0, 4)])['loss_bap']]
    torch.testing.assert_close(losses['loss_cls'] + losses['loss_bap'], .5 * .5 * parts[0] + 2 / 3 * parts[1])


@pytest.mark.parametrize('kind', ['tags', 'boxes', 'masks'])
def test_every_kind_reaches_the_shared_weights_and_its_own_features_alone(kind):
    head, features, samples = scene(['tags', 'boxes', 'masks'])
    name = dict(tags='loss_cls', boxes='loss_bap', masks='loss_region')[kind]
    row = ['tags', 'boxes', 'masks'].index(kind)
    head.loss((features,), samples)[name].backward()
    assert head.classifier.weight.grad[1:].abs().amax((1, 2, 3)).gt(0).all()
    reached = features.grad.flatten(1).abs().sum(1) > 0
    assert reached.tolist() == [i == row for i in range(3)]


def test_absent_kinds_give_a_zero_with_a_gradient():
    head, features, samples = scene(['boxes', 'boxes'])
    losses = head.loss((features,), samples)
    assert losses.keys() == {'loss_cls', 'loss_bap', 'loss_region'}
    for name in ('loss_cls', 'loss_region'):
        assert losses[name].item() == 0 and losses[name].requires_grad
        (gradient,) = torch.autograd.grad(losses[name], features, retain_graph=True)
        assert not gradient.any()


# ---------------------------------------------------------------- masks

def test_regions_are_weighed_by_the_share_of_a_class_in_each_cell():
    """2 x 1 cells of 2 x 2 pixels: class 3 has a quarter of the first and all of the second."""
    labels = torch.tensor([[[3, 0], [255, 0], [3, 3], [3, 3]]])
    features = torch.tensor([[[[1.], [5.]], [[10.], [0.]]]])
    vectors, ids = class_regions(features, labels, 4)
    assert ids.tolist() == [3]
    torch.testing.assert_close(vectors, torch.tensor([[(.25 * 1 + 5) / 1.25, .25 * 10 / 1.25]]))


def test_regions_come_image_by_image_and_ignored_pixels_are_no_class():
    labels = torch.zeros(3, 8, 8, dtype=torch.int64)
    labels[0, :4], labels[0, 4:], labels[2, 2:3, 2:3] = 2, 1, 4
    labels[1] = 255
    features = torch.arange(3.)[:, None, None, None].expand(3, 2, 4, 4)
    vectors, ids = class_regions(features, labels, 4)
    assert ids.tolist() == [1, 2, 4]
    torch.testing.assert_close(vectors[:, 0], torch.tensor([0., 0., 2.]))
    none, of_none = class_regions(features[1:2], labels[1:2], 4)
    assert none.shape == (0, 2) and not len(of_none)


def test_loss_of_masks_by_hand():
    """One query: the ground's one cell; one region: class 1. Logits are the weights' own rows."""
    head = MixedHead(2, 2, grid_size=1)
    head.classifier.weight.data = torch.tensor([[2., 0.], [0., 3.], [0., 1.]])[:, :, None, None]
    features = torch.zeros(1, 2, 2, 2)
    features[0, 0, 0], features[0, 1, 1] = 1, 1   # ground above, object below
    image = SegDataSample(gt_label=torch.tensor([1., 0.]))
    image.gt_sem_seg = PixelData(data=torch.tensor([[[0] * 4] * 2 + [[1] * 4] * 2]))
    expected = (F.cross_entropy(torch.tensor([[0., 3., 1.]]), torch.tensor([1]))
                + F.cross_entropy(torch.tensor([[2., 0., 0.]]), torch.tensor([0]))) / 2
    torch.testing.assert_close(head.loss((features,), [image])['loss_region'], expected)
    without = MixedHead(2, 2, grid_size=1, background_queries=False)
    without.classifier.weight.data = head.classifier.weight.data
    torch.testing.assert_close(without.loss((features,), [image])['loss_region'],
                               F.cross_entropy(torch.tensor([[0., 3., 1.]]), torch.tensor([1])))


def test_a_mask_without_a_known_pixel_counts_nothing():
    head, features, samples = scene(['masks'])
    samples[0].gt_sem_seg.data.fill_(255)
    loss = head.loss((features,), samples)['loss_region']
    loss.backward()
    assert loss.item() == 0 and not features.grad.any()


def test_mirrored_images_have_the_same_loss():
    head, features, samples = scene(['masks', 'masks'])
    mirrored = [sample('masks') for _ in samples]
    for image in mirrored:
        image.gt_sem_seg.data = image.gt_sem_seg.data.flip(2)
    torch.testing.assert_close(head.loss((features,), samples)['loss_region'],
                               head.loss((features.flip(3),), mirrored)['loss_region'])


def test_gradients_of_the_mask_loss():
    labels = sample('masks').gt_sem_seg.data[:, ::8, ::8]
    features = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: class_regions(f, labels, 4)[0], features)
    head = MixedHead(4, 3).double()
    image = SegDataSample(gt_label=torch.zeros(4), gt_sem_seg=PixelData(data=labels))
    assert torch.autograd.gradcheck(lambda f: head.loss((f,), [image])['loss_region'], features)


def test_a_mask_of_another_class_is_refused():
    head, features, samples = scene(['masks'])
    samples[0].gt_sem_seg.data[0, 40, 40] = 9
    with pytest.raises(DataError, match='a mask of class 9, the head has 4'):
        head.loss((features,), samples)


def test_half_precision_is_left_for_the_regions():
    head, features, samples = scene(['masks'])
    expected = head.loss((features,), samples)['loss_region']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = head.loss((features,), samples)['loss_region']
    assert found.dtype == torch.float32 and found.item() == expected.item()


# ---------------------------------------------------------------- the branch

def build(**options):
    torch.manual_seed(0)
    branch = dict(
        type='wsss_mm.SegmentationBranch', loss_weight=2., decode_head=dict(
            type='mmseg.FCNHead', in_channels=12, in_index=-1, channels=8, num_convs=1, concat_input=False,
            num_classes=5, norm_cfg=dict(type='BN')))
    branch.update(options)
    model = MODELS.build(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 8, 12)),
        head=dict(type='wsss_mm.MixedHead', num_classes=4, in_channels=12), objectives=[branch]))
    model.init_weights()
    return model.train()


def branch_losses(model, samples):
    inputs = torch.randn(len(samples), 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return model.objectives[0].loss(model, inputs, model.extract_feat(inputs), samples)


def test_the_branch_learns_from_images_with_masks_alone():
    kinds = ['tags', 'masks', 'boxes', 'masks']
    model, samples = build(), [sample(kind) for kind in kinds]
    inputs = torch.randn(4, 3, 64, 64)
    feats = model.extract_feat(inputs)
    model.objectives[0].decode_head.eval()   # dropout, and statistics of its norm
    found = model.objectives[0].loss(model, inputs, feats, samples)
    rows = [1, 3]
    expected = model.objectives[0].decode_head.loss(tuple(f[rows] for f in feats), [samples[i] for i in rows], None)
    assert found.keys() == {'branch.loss_ce', 'branch.acc_seg'}
    torch.testing.assert_close(found['branch.loss_ce'], 2 * expected['loss_ce'])
    torch.testing.assert_close(found['branch.acc_seg'], expected['acc_seg'])
    assert model.objectives[0].images_seen == 2


def test_without_a_mask_the_branch_has_the_same_keys_and_gradients_of_zero():
    model = build()
    found = branch_losses(model, [sample('tags'), sample('boxes')])
    assert found.keys() == branch_losses(build(), [sample('masks')]).keys()
    assert found['branch.loss_ce'].item() == 0
    found['branch.loss_ce'].backward()
    gradients = [p.grad for p in model.objectives[0].decode_head.parameters()]
    assert gradients and all(g is not None and not g.any() for g in gradients)
    assert model.objectives[0].images_seen == 0


def test_what_the_branch_has_seen_is_kept_with_its_weights():
    model, other = build(), build()
    branch_losses(model, [sample('masks')] * 3)
    other.load_state_dict(model.state_dict())
    assert other.objectives[0].images_seen == 3


def test_a_whole_step_reaches_every_weight_whatever_the_kinds():
    for kinds in (['tags', 'boxes', 'masks'], ['tags', 'tags'], ['boxes'], ['masks']):
        model = build()
        total, _ = model.parse_losses(model(torch.randn(len(kinds), 3, 64, 64), [sample(k) for k in kinds], 'loss'))
        total.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_decode_head_without_the_background_is_refused():
    model = build()
    model.objectives[0].decode_head.num_classes = 4
    with pytest.raises(ConfigError, match='decode_head.num_classes=4, the classifier has 4'):
        branch_losses(model, [sample('masks')])
