"""Background-aware pooling: the official code's numbers, a plain loop's, and what bad or empty input does."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch.utils._python_dispatch import TorchDispatchMode

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads import BAPHead
from wsss_mm.models.heads import background_aware_pooling as bap
from wsss_mm.registry import MODELS

_spec = importlib.util.spec_from_file_location(
    'benchmark_bap_head', Path(__file__).resolve().parents[2] / 'benchmarks/bap_head.py')
plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain)


def sample(mask, boxes=(), labels=None):
    """A sample with boxes and mask; labels default to 0, 1, …"""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).view(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.as_tensor(labels)
    result = SegDataSample(gt_bg_mask=PixelData(data=mask[None]))
    result.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    return result


def outside(size, boxes):
    mask = torch.ones(size, dtype=torch.uint8)
    for x1, y1, x2, y2 in torch.as_tensor(boxes).view(-1, 4).int().tolist():
        mask[y1:y2, x1:x2] = 0
    return mask


def scene(size=(64, 80), stride=8, channels=6, boxes=((8., 8., 40., 40.), (30., 20., 72., 60.)), images=1, **options):
    """Head, features and samples; every image has the same boxes, and features of its own."""
    torch.manual_seed(0)
    head = BAPHead(4, channels, **options)
    torch.nn.init.normal_(head.classifier.weight)
    features = torch.rand(images, channels, size[0] // stride, size[1] // stride)
    return head, features, [sample(outside(size, boxes), boxes) for _ in range(images)]


@pytest.fixture
def official(parity):
    """The fixture, a head with its weights, and its samples."""
    data = parity('bana/bap_gs4_roi2x2')
    head = BAPHead(20, 16)
    head.classifier.weight.data = data['classifier_weight'][:, :, None, None].clone()
    boxes, index = data['boxes_pixel'], data['box_image_index']
    samples = [sample(data['bg_mask_image'][i], boxes[index == i, :4], boxes[index == i, 4].long() - 1)
               for i in range(4)]
    return data, head, samples


def test_matches_the_official_code(official):
    data, head, samples = official
    features = data['features'].requires_grad_()
    losses = head.loss((features,), samples)
    losses['loss_bap'].backward()
    close = torch.testing.assert_close
    close(losses['loss_bap'].item(), float(data['loss']), rtol=1e-6, atol=0)
    close(features.grad, data['grad_features'], rtol=1e-5, atol=1e-7)
    close(head.classifier.weight.grad[:, :, 0, 0], data['grad_classifier'], rtol=1e-5, atol=1e-6)
    pooled, queries, valid = head.pool(features, data['bg_mask_image'], data['boxes_pixel'][:, :4], [2, 1, 3, 3])
    assert torch.equal(valid.view(4, 16), data['cell_valid'])
    close(queries.view(4, 16, 16), data['queries'], rtol=0, atol=5e-7)
    close(pooled.view(9, 2, 2, 16).permute(0, 3, 1, 2), data['pooled_fg'], rtol=0, atol=1e-6)
    logits = torch.cat([pooled, queries[valid]]) @ head.weight_matrix.T
    close(logits, data['logits'], rtol=1e-5, atol=1e-5)
    right = (data['logits'].argmax(1) == data['targets']).float()
    close(losses['acc_fg'], 100 * right[:36].mean())
    close(losses['acc_bg'], 100 * right[36:].mean())


def test_samples_and_weights_match_the_official_code(official):
    data, _, _ = official
    features, index = data['features'], data['box_image_index']
    assert torch.equal(bap.resize_mask(data['bg_mask_image'], (13, 17)), data['bg_mask_feature'])
    points = bap.sample_points(data['boxes_pixel'][:, :4], index, (97, 129), (13, 17))
    assert torch.equal(torch.stack([points.rows, points.columns], 1), data['roi_hw'])
    torch.testing.assert_close(bap.sample_maps(features, points), data['roi_features'], rtol=0, atol=8e-6)
    attention = bap.background_attention(features, data['queries'], data['cell_valid'], points)
    expected = torch.where(data['bg_fraction_ok'][points.image], 1 - data['roi_fg_weight'], 0)
    attention = attention * data['bg_fraction_ok'][points.image]
    torch.testing.assert_close(attention, expected, rtol=0, atol=4e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10 ** 6), height=st.integers(17, 90), width=st.integers(17, 90),
       stride=st.sampled_from([4, 8]), grid_size=st.integers(1, 5), roi=st.tuples(st.integers(1, 3), st.integers(1, 3)),
       signed=st.booleans())
def test_equals_a_loop_over_the_boxes(seed, height, width, stride, grid_size, roi, signed):
    g = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 4, (3,), generator=g).tolist()
    counts[seed % 3] += 1
    low = torch.rand(sum(counts), 2, generator=g) * torch.tensor([width - 2, height - 2])
    high = low + 1 + torch.rand(len(low), 2, generator=g) * (torch.tensor([width, height]) - low)
    boxes = torch.cat([low, high], 1)
    features = torch.randn(3, 5, -(-height // stride), -(-width // stride), generator=g)
    features = features if signed else features.relu()
    index = bap.box_images(counts)
    masks = torch.stack([outside((height, width), boxes[index == i]) for i in range(3)])
    head = BAPHead(3, 5, grid_size=grid_size, roi_size=roi)
    pooled, queries, valid = head.pool(features, masks, boxes, counts)
    expected, expected_queries, expected_valid = plain.plain_bap(features, masks, boxes, index, grid_size, roi)
    assert torch.equal(valid, expected_valid.flatten())
    torch.testing.assert_close(queries, expected_queries.flatten(0, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled, expected.flatten(0, 1), rtol=1e-3, atol=1e-4)


def test_windows_by_hand():
    def windows(n, number, first):
        index = torch.arange(n)
        return bap.window_members(index, torch.full_like(index, n), number, first).T.int().tolist()

    assert windows(4, 2, False) == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert windows(5, 2, False) == [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]  # odd: one sample in both
    assert windows(1, 2, False) == windows(1, 2, True) == [[1], [1]]
    assert windows(2, 3, False) == [[1, 0], [0, 1], [0, 1]]  # rows: the last one is repeated
    assert windows(2, 3, True) == [[1, 0], [1, 0], [0, 1]]  # columns: the first one


def test_grid_cells_by_hand():
    assert bap.cell_index(1, 6, 4)[:6].tolist() == [0, 1, 1, 2, 2, 3]  # deficit 2: one on each side
    assert bap.cell_index(1, 5, 4).tolist() == [0, 0, 1, 1, 2]  # deficit 3: all at the right
    assert bap.cell_index(2, 2, 2).tolist() == [0, 1, 2, 3]


def test_background_like_samples_weigh_nothing():
    """Half of a box looks like the background outside: only the other half is pooled."""
    features = torch.zeros(1, 2, 8, 8)
    features[:, 0] = 1.  # background everywhere …
    features[:, :, 2:6, 4:6] = torch.tensor([0., 3.])[:, None, None]  # … but for the right half of the box
    box = [16., 16., 48., 48.]
    head = BAPHead(1, 2, roi_size=(1, 1), align_mode='aligned')
    pooled, queries, valid = head.pool(features, outside((64, 64), [box])[None], torch.tensor([box]), [1])
    assert pooled[0, 1] > 2 and pooled[0, 0] < .3
    assert torch.equal(queries[:, 0], valid.float()) and valid.sum() == 12  # the inner cells lie in the box
    head.attention = False
    averaged, _, _ = head.pool(features, outside((64, 64), [box])[None], torch.tensor([box]), [1])
    assert averaged[0, 1] < 1.6 and averaged[0, 0] > .4


def test_a_batch_gives_what_single_images_give():
    head, features, samples = scene(images=3)
    masks = torch.cat([s.gt_bg_mask.data for s in samples])
    boxes = samples[0].gt_instances.bboxes
    together = head.pool(features, masks, boxes.repeat(3, 1), [2] * 3)
    for i in range(3):
        alone = head.pool(features[i:i + 1], masks[i:i + 1], boxes, [2])
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a, b.view(3, -1, *b.shape[1:])[i], rtol=1e-6, atol=1e-6)


def test_a_flipped_scene_has_the_same_loss_where_the_geometry_is_aligned():
    options = dict(size=(65, 121), stride=8, boxes=((8., 8., 40., 40.), (30., 20., 72., 60.), (98., 3., 103., 9.)))
    head, _, (one,) = scene(**options, align_mode='aligned')
    features = torch.rand(1, 6, 9, 16)
    flipped = one.gt_instances.bboxes.clone()
    flipped[:, [0, 2]] = 121 - flipped[:, [2, 0]]
    mirror = sample(one.gt_bg_mask.data[0].flip(1), flipped)
    losses = head.loss((features,), [one]), head.loss((features.flip(3),), [mirror])
    torch.testing.assert_close(losses[0]['loss_bap'], losses[1]['loss_bap'], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('align_mode', ['official', 'aligned'])
def test_gradient_of_the_loss(align_mode):
    boxes = ((3., 2., 11., 13.), (5., 4., 15., 10.))
    head, features, samples = scene((16, 16), 4, 3, boxes, grid_size=2, align_mode=align_mode)
    features = (features.double() + .1).requires_grad_()  # positive: no ReLU at its kink

    def loss(features, weight):
        head.classifier.weight = weight
        return head.loss((features,), samples)['loss_bap']

    weight = head.classifier.weight.detach().double().requires_grad_()
    del head.classifier.weight  # a plain tensor in the parameter's place, for gradcheck to vary
    assert torch.autograd.gradcheck(loss, (features, weight), eps=1e-6, atol=1e-6)


def test_detached_attention_gives_constant_weights():
    head, features, samples = scene(detach_attention=True)
    features.requires_grad_()
    grad = torch.autograd.grad(head.loss((features,), samples)['loss_bap'], features)[0]
    head.detach_attention = False
    attached = torch.autograd.grad(head.loss((features,), samples)['loss_bap'], features)[0]
    boxes, mask = samples[0].gt_instances.bboxes, samples[0].gt_bg_mask.data
    queries, valid = bap.background_queries(features, bap.resize_mask(mask == 1, features.shape[2:]), 4)
    points = bap.sample_points(boxes, torch.zeros(2, dtype=torch.long), mask.shape[1:], features.shape[2:])
    weights = (1 - bap.background_attention(features, queries, valid, points)).detach()
    pooled = bap.pool_windows(features, weights, points, [2], (2, 2))
    vectors = torch.cat([pooled.flatten(0, 1), queries[valid]])
    target = torch.tensor([1] * 4 + [2] * 4 + [0] * int(valid.sum()))
    expected = torch.autograd.grad(F.cross_entropy(vectors @ head.weight_matrix.T, target), features)[0]
    torch.testing.assert_close(grad, expected)
    assert (attached - grad).abs().max() > 1e-4


def test_the_host_waits_for_the_device_once():
    """Values read by the host (``item``, ``nonzero``) are the calls a GPU would have to be waited for."""
    class Waits(TorchDispatchMode):
        names: list = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func.overloadpacket.__name__
            booleans = name == 'index' and any(i is not None and i.dtype == torch.bool for i in args[1])
            if booleans or name in ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', '_unique2'):
                self.names.append(name)
            return func(*args, **(kwargs or {}))

    head, features, samples = scene(images=4)
    with Waits() as waits:
        head.loss((features.requires_grad_(),), samples)['loss_bap'].backward()
    assert waits.names == ['_local_scalar_dense']


def test_no_box_and_no_background():
    head, features, _ = scene(images=2)
    features.requires_grad_()
    empty, full = torch.zeros(64, 80, dtype=torch.uint8), torch.ones(64, 80, dtype=torch.uint8)
    losses = head.loss((features,), [sample(empty), sample(empty)])
    losses['loss_bap'].backward()
    assert losses['loss_bap'] == 0 and features.grad.abs().sum() == 0 and head.classifier.weight.grad.abs().sum() == 0
    # Background without any box: the background term alone.
    losses = head.loss((features,), [sample(full), sample(full)])
    queries, _ = bap.background_queries(features, torch.ones(2, 8, 10, dtype=torch.bool), 4)
    expected = F.cross_entropy(queries.flatten(0, 1) @ head.weight_matrix.T, torch.zeros(32, dtype=torch.long))
    torch.testing.assert_close(losses['loss_bap'], expected)


def test_a_box_over_the_whole_image_is_average_pooled():
    head, features, _ = scene()
    whole = [[0., 0., 80., 64.]]
    losses = head.loss((features,), [sample(outside((64, 80), whole), whole)])
    head.attention = False
    torch.testing.assert_close(losses, head.loss((features,), [sample(outside((64, 80), whole), whole)]))


def test_too_little_background_is_average_pooled_but_still_a_background_example():
    head, features, _ = scene()
    box = [[0., 0., 80., 56.]]  # an eighth is left: not more than an eighth
    one = sample(outside((64, 80), box), box)
    pooled, _, valid = head.pool(features, one.gt_bg_mask.data, one.gt_instances.bboxes, [1])
    head.attention = False
    torch.testing.assert_close(pooled, head.pool(features, one.gt_bg_mask.data, one.gt_instances.bboxes, [1])[0])
    assert valid.any()
    head.attention, head.min_bg_fraction = True, .124
    assert (head.pool(features, one.gt_bg_mask.data, one.gt_instances.bboxes, [1])[0] - pooled).abs().max() > 1e-4


@pytest.mark.parametrize('box', [[24., 24., 24., 24.], [10., 20., 10., 50.], [79., 63., 81., 65.],
                                 [300., -9., 400., 5.]])
@pytest.mark.parametrize('align_mode', ['official', 'aligned'])
def test_boxes_without_area_and_outside_the_image_stay_finite(box, align_mode):
    head, features, _ = scene(align_mode=align_mode)
    features.requires_grad_()
    loss = head.loss((features,), [sample(torch.ones(64, 80, dtype=torch.uint8), [box])])['loss_bap']
    loss.backward()
    assert loss.isfinite() and features.grad.isfinite().all()


def test_a_window_that_is_background_throughout_is_average_pooled():
    head, _, samples = scene(boxes=((8., 8., 40., 40.), (30., 20., 60., 50.)))  # away from the border's zeros
    features = torch.ones(1, 6, 8, 10, requires_grad=True)  # A = 1 everywhere
    loss = head.loss((features,), samples)['loss_bap']
    loss.backward()
    pooled, _, _ = head.pool(features, samples[0].gt_bg_mask.data, samples[0].gt_instances.bboxes, [2])
    torch.testing.assert_close(pooled, torch.ones(8, 6), rtol=1e-4, atol=1e-4)
    assert features.grad.abs().max() < 10


def test_padding_is_no_background():
    head, features, (one,) = scene()
    wide = F.pad(features, (0, 5))  # features of 40 padded pixels, zero here
    mask = F.pad(one.gt_bg_mask.data, (0, 40), value=255)
    queries = bap.background_queries(wide, bap.resize_mask(mask == 1, (8, 15)), 5)
    assert queries[1].view(5, 5)[:, 4].sum() == 0  # the last three columns of features are padding
    boxes = torch.tensor([[8., 8., 40., 40.]])
    full = torch.ones_like(mask)
    full[..., 13:] = 255  # 13 of 120 columns are background: less than an eighth
    pooled, _, _ = head.pool(wide, full, boxes, [1])
    head.attention = False
    torch.testing.assert_close(pooled, head.pool(wide, full, boxes, [1])[0])


def test_slivers_can_be_left_out():
    boxes = ((8., 8., 40., 40.), (60., 10., 60.5, 50.))
    head, features, samples = scene(boxes=boxes)
    with_sliver = head.loss((features,), samples)['loss_bap']
    head.min_visible = 1.
    without = head.loss((features,), samples)['loss_bap']
    only = head.loss((features,), [sample(samples[0].gt_bg_mask.data[0], boxes[:1])])['loss_bap']
    torch.testing.assert_close(without, only)
    assert (with_sliver - without).abs() > 1e-3


def test_without_background_queries_only_boxes_count():
    head, features, samples = scene(background_queries=False)
    losses = head.loss((features,), samples)
    pooled, queries, valid = head.pool(features, samples[0].gt_bg_mask.data, samples[0].gt_instances.bboxes, [2])
    expected = F.cross_entropy(pooled @ head.weight_matrix.T, torch.tensor([1] * 4 + [2] * 4))
    torch.testing.assert_close(losses['loss_bap'], expected)
    assert len(queries) == len(valid) == 0 and losses['acc_bg'] == 0
    assert head.loss((features,), [sample(torch.ones(64, 80, dtype=torch.uint8))])['loss_bap'] == 0


def test_mixed_precision_computes_in_float32():
    head, features, samples = scene()
    with torch.autocast('cpu', torch.bfloat16):
        mixed = head.loss((features,), samples)['loss_bap']
    assert torch.equal(mixed, head.loss((features,), samples)['loss_bap'])


def test_class_maps_have_no_background_and_the_weights_do():
    head, features, _ = scene(images=2)
    maps = head.class_maps((features,))
    assert maps.shape == (2, 4, 8, 10) and head.weight_matrix.shape == (5, 6)
    torch.testing.assert_close(maps[1, :, 2, 3], head.weight_matrix[1:] @ features[1, :, 2, 3])
    (first, _) = head.predict((features,))
    torch.testing.assert_close(first.pred_label, maps[0].amax((1, 2)).sigmoid())


BACKBONES = {
    'ResNet-18': (dict(type='ResNet', depth=18), 512, 'conv1'),
    'ResNet-50': (dict(type='ResNet', depth=50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)), 2048, 'conv1'),
    'MobileNetV2': (dict(type='MobileNetV2', out_indices=(6,)), 320, 'conv1.conv'),
    'ToyNet': (dict(type='wsss_mm.ToyNet'), 96, 'stem.0'),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_any_backbone_of_mmseg_learns_from_boxes(name):
    backbone, channels, first_conv = BACKBONES[name]
    torch.manual_seed(0)
    model = MODELS.build(dict(type='wsss_mm.CAMClassifier', backbone=backbone,
                              head=dict(type='wsss_mm.BAPHead', num_classes=4, in_channels=channels)))
    samples = scene(images=2)[2]
    losses = model(torch.randn(2, 3, 64, 80), samples, mode='loss')
    losses['loss_bap'].backward()
    assert model.backbone.get_submodule(first_conv).weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in model.parameters())


def test_what_does_not_fit_is_named():
    head, features, samples = scene(images=2)
    with pytest.raises(ConfigError, match='gt_instances'):
        head.loss((features,), [SegDataSample(), SegDataSample()])
    samples[1].gt_bg_mask = PixelData(data=torch.ones(1, 32, 32))
    with pytest.raises(ConfigError, match=r'sizes \[\(32, 32\), \(64, 80\)\]'):
        head.loss((features,), samples)
    with pytest.raises(ConfigError, match="align_mode='exact'"):
        BAPHead(4, 6, align_mode='exact')
