"""Decode heads for imperfect labels."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.decode_heads import cosine_map, pixel_accuracy
from wsss_mm.models.losses import entropy_regularization, noise_aware_loss, reliable_cross_entropy
from wsss_mm.registry import MODELS

LARGE_FOV = dict(type='wsss_mm.LargeFOVHead', in_channels=6, num_classes=4)
V2 = dict(type='wsss_mm.DeepLabV2Head', in_channels=6, channels=5, num_classes=4, rates=(1, 2, 3, 4))
V2_SUM = dict(V2, form='sum', classifier='dot', loss_decode=dict(type='wsss_mm.ReliableCrossEntropy'))
NAL = dict(type='wsss_mm.NoiseAwareLoss')
METAS = [dict(img_shape=(13, 17), pad_shape=(13, 17), ori_shape=(13, 17))]
HEADS = {
    'large_fov': dict(LARGE_FOV, loss_decode=NAL),
    'large_fov_dot': dict(LARGE_FOV, classifier='dot', loss_decode=NAL),
    'v2': dict(V2, loss_decode=NAL),
    'v2_sum': V2_SUM,
}
all_heads = pytest.mark.parametrize('config', HEADS.values(), ids=HEADS)


def build(config):
    torch.manual_seed(0)
    head = MODELS.build(config)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=.3)
    return head


def features(n=2, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    return (torch.zeros(1), torch.rand(n, 6, 4, 5, generator=g, dtype=dtype))


def samples(n=2, size=(13, 17), retrieved=True):
    g = torch.Generator().manual_seed(2)
    made = []
    for i in range(n):
        sample = SegDataSample(metainfo=dict(img_path=f'{i}.jpg', img_shape=size, pad_shape=size, ori_shape=size))
        labels = torch.randint(0, 4, (1, *size), generator=g)
        labels[:, :2] = 255
        sample.gt_sem_seg = PixelData(data=labels)
        if retrieved:
            other = torch.where(torch.rand(1, *size, generator=g) < .6, labels, (labels + 1) % 4)
            sample.gt_sem_seg_ret = PixelData(data=other.masked_fill(labels == 255, 255))
        made.append(sample)
    return made


def label_maps(made):
    return (torch.cat([s.gt_sem_seg.data for s in made]), torch.cat([s.gt_sem_seg_ret.data for s in made]))


def fill(number):
    """The parity fixture's rule for weights: a hash of the index and of the layer's number."""
    def values(count, i):
        a = torch.arange(count, dtype=torch.float64)
        return (2 * torch.frac(43758.5453 * torch.sin(12.9898 * a + 78.233 * i + 1.)).remainder(1) - 1).float()

    def fill_layer(layer):
        fan_in = layer.weight[0].numel()
        layer.weight.data = ((6 / fan_in) ** .5 * values(layer.weight.numel(), number)).view_as(layer.weight)
        if layer.bias is not None:
            layer.bias.data = .1 * values(layer.bias.numel(), number + .5)
    return fill_layer


@torch.no_grad()
def test_large_fov_network_equals_the_published_code(parity):
    data = parity('bana/net_vgg_largefov')
    trunk = MODELS.build(dict(type='wsss_mm.VGG16', fc_dilation=12)).eval()
    head = MODELS.build(dict(LARGE_FOV, in_channels=1024, num_classes=21, loss_decode=NAL)).eval()
    layers = [m for m in [*trunk.modules(), *head.modules()] if isinstance(m, torch.nn.Conv2d)]
    assert len(layers) == 16
    for number, layer in enumerate(layers):
        fill(number)(layer)
    assert sum(p.numel() for m in (trunk, head) for p in m.parameters()) == int(data['num_params'])
    maps = trunk(data['input'])
    logits = head(maps)
    torch.testing.assert_close(logits[0] / 20, data['cosine'], rtol=1e-3, atol=1e-5)


def test_cosine_map_is_the_cosine_and_ignores_lengths():
    phi, weight = features()[1], torch.randn(4, 6)
    expected = F.cosine_similarity(phi[:, None], weight[None, :, :, None, None], dim=2)
    torch.testing.assert_close(cosine_map(phi, weight), expected)
    torch.testing.assert_close(cosine_map(3 * phi, .1 * weight[..., None, None]), expected)


def test_cosine_map_of_an_empty_feature_is_zero_with_zero_gradient():
    phi, weight = torch.zeros(1, 6, 1, 2), torch.randn(4, 6, requires_grad=True)
    phi[..., 1] = torch.rand(1, 6, 1)
    phi.requires_grad_()
    cosines = cosine_map(phi, weight)
    (cosines * torch.randn(1, 4, 1, 2)).sum().backward()
    assert (cosines[..., 0] == 0).all() and (phi.grad[..., 0] == 0).all()
    assert (phi.grad[..., 1] != 0).all() and torch.isfinite(weight.grad).all()


def test_cosine_map_gradients():
    phi, weight = features(1, torch.float64)[1][..., :2, :2], torch.randn(3, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(cosine_map, (phi.requires_grad_(), weight.requires_grad_()))


def test_cosines_stay_float32_under_autocast():
    head, inputs = build(HEADS['v2']), features()
    expected = cosine_map(features()[1], torch.ones(4, 6))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = cosine_map(features()[1], torch.ones(4, 6))
        terms = head.loss(inputs, samples(), None)
    torch.testing.assert_close(found, expected)
    assert terms['loss_wce'].dtype == torch.float32 and torch.isfinite(terms['loss_wce'])


@pytest.mark.parametrize('name', ['large_fov', 'v2'])
def test_cosine_head_trains_on_upsampled_cosines(name):
    head, inputs, made = build(HEADS[name]), features(), samples()
    phi = head._forward_feature(inputs)
    assert phi.shape[1] == head.channels and (phi >= 0).all()
    cosines = F.cosine_similarity(phi[:, None], head.conv_seg.weight.flatten(1)[None, :, :, None, None], dim=2)
    torch.testing.assert_close(head(inputs), 20 * cosines)
    up = F.interpolate(cosines, size=(13, 17), mode='bilinear', align_corners=True)
    expected = noise_aware_loss(20 * up, up, *label_maps(made))
    found = head.loss(inputs, made, None)
    assert set(found) == {*expected, 'acc_seg'}
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)
    torch.testing.assert_close(head.predict(inputs, METAS * 2, None), 20 * up)


def test_dot_head_takes_its_cosines_apart_from_its_logits():
    head, inputs, made = build(HEADS['large_fov_dot']), features(), samples()
    logits = torch.einsum('cd,ndhw->nchw', head.conv_seg.weight.flatten(1), inputs[-1])
    torch.testing.assert_close(head(inputs), logits)
    maps = [F.interpolate(m, size=(13, 17), mode='bilinear', align_corners=True)
            for m in (logits, cosine_map(inputs[-1], head.conv_seg.weight))]
    found = head.loss(inputs, made, None)
    for key, value in noise_aware_loss(*maps, *label_maps(made)).items():
        torch.testing.assert_close(found[key], value)


def test_v2_features_are_the_rectified_sum_of_the_dilated_convolutions():
    head, inputs = build(HEADS['v2']), features()
    parts = [F.conv2d(inputs[-1], conv.weight, padding=rate, dilation=rate)
             for conv, rate in zip(head.convs, (1, 2, 3, 4), strict=True)]
    torch.testing.assert_close(head._forward_feature(inputs), torch.stack(parts).sum(dim=0).relu())
    assert all(conv.bias is None for conv in head.convs)


def test_v2_sum_is_the_sum_of_four_classifiers():
    head, inputs, made = build(V2_SUM), features(), samples()
    logits = sum(F.conv2d(inputs[-1], conv.weight, conv.bias, padding=rate, dilation=rate)
                 for conv, rate in zip(head.convs, (1, 2, 3, 4), strict=True))
    torch.testing.assert_close(head(inputs), logits)
    up = F.interpolate(logits, size=(13, 17), mode='bilinear', align_corners=True)
    expected = reliable_cross_entropy(up, *label_maps(made))['loss_ce']
    torch.testing.assert_close(head.loss(inputs, made, None)['loss_ce'], expected)


@all_heads
def test_every_parameter_learns(config):
    head = build(config).train()
    losses = head.loss(features(), samples(), None)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []


@all_heads
def test_initial_weights_are_small(config):
    head = MODELS.build(dict(config, in_channels=64))
    head.init_weights()
    for parameter in head.parameters():
        if parameter.ndim == 4:
            assert parameter.std().item() == pytest.approx(.01, rel=.2)
        else:
            assert (parameter == 0).all()


@all_heads
def test_a_batch_gives_what_single_images_give(config):
    head, inputs = build(config).eval(), features()
    single = torch.cat([head((inputs[-1][i:i + 1],)) for i in range(2)])
    torch.testing.assert_close(head(inputs), single)
    flipped = head((inputs[-1].flip(-1),)).flip(-1)
    if 'LargeFOV' in config['type']:  # 3x3 kernels are not symmetric
        torch.testing.assert_close(head(inputs), flipped)


@all_heads
def test_a_bare_map_is_a_backbones_only_one(config):
    head, maps = build(config).eval(), features()
    torch.testing.assert_close(head(maps[-1]), head((maps[-1],)))
    found, expected = (head.loss(x, samples(), None) for x in (maps[-1], (maps[-1],)))
    torch.testing.assert_close(found['loss_ce'], expected['loss_ce'])


def test_ordinary_losses_see_the_first_label_map_alone():
    ordinary = dict(type='CrossEntropyLoss', avg_non_ignore=True)
    head, made = build(dict(LARGE_FOV, loss_decode=ordinary)), samples()
    expected = F.cross_entropy(F.interpolate(head(features()), size=(13, 17), mode='bilinear', align_corners=True),
                               label_maps(made)[0], ignore_index=255)
    torch.testing.assert_close(head.loss(features(), made, None)['loss_ce'], expected)


def test_losses_of_one_name_add_up_and_log_entries_do_not():
    both = [dict(type='wsss_mm.EntropyRegularization'), dict(type='wsss_mm.ReliableCrossEntropy')]
    head, made = build(dict(LARGE_FOV, loss_decode=both)), samples()
    found = head.loss(features(), made, None)
    up = F.interpolate(head(features()), size=(13, 17), mode='bilinear', align_corners=True)
    expected = entropy_regularization(up, *label_maps(made))
    torch.testing.assert_close(found['loss_ce'], 2 * expected['loss_ce'])
    torch.testing.assert_close(found['loss_entropy'], expected['loss_entropy'])
    torch.testing.assert_close(found['unreliable_share'], expected['unreliable_share'])


def test_without_a_second_map_every_label_counts_as_reliable():
    head, made = build(HEADS['large_fov']), samples(retrieved=False)
    found = head.loss(features(), made, None)
    assert found['loss_wce'] == 0 and found['unreliable_share'] == 0
    up = F.interpolate(head(features()), size=(13, 17), mode='bilinear', align_corners=True)
    labels = torch.cat([s.gt_sem_seg.data for s in made])
    torch.testing.assert_close(found['loss_ce'], F.cross_entropy(up, labels, ignore_index=255))


def test_second_maps_that_do_not_fit_are_refused():
    head = build(HEADS['large_fov'])
    made = samples()
    del made[1].gt_sem_seg_ret
    with pytest.raises(DataError, match=r'1\.jpg.*gt_sem_seg_ret'):
        head.loss(features(), made, None)
    made[1].set_field(PixelData(data=torch.zeros(1, 3, 3)), 'gt_sem_seg_ret')
    with pytest.raises(DataError, match=r'1\.jpg.*\(3, 3\)'):
        head.loss(features(), made, None)


@pytest.mark.parametrize(('config', 'words'), [
    (dict(LARGE_FOV, classifier='euclid'), 'euclid'),
    (dict(V2, form='concat'), 'concat'),
    (dict(V2, form='sum'), "classifier='dot'"),
    (dict(V2_SUM, loss_decode=NAL), 'NoiseAwareLoss'),
])
def test_impossible_configs_are_refused_at_build(config, words):
    with pytest.raises(ConfigError, match=words):
        MODELS.build(config)


def test_dropout_is_active_in_training_alone():
    head = build(dict(LARGE_FOV, dropout_ratio=.5))
    inputs = (torch.ones(8, 6, 2, 2),)
    assert not torch.allclose(head.train()(inputs), head(inputs))
    torch.testing.assert_close(head.eval()(inputs), head(inputs))


def test_pixel_accuracy_counts_valid_pixels_of_its_grid():
    labels = torch.arange(64).view(1, 8, 8) % 3
    labels[0, 0, 4] = 255
    logits = F.one_hot(labels % 3, 3).permute(0, 3, 1, 2).float()
    assert pixel_accuracy(logits, labels) == 100
    labels[0, 4, 4] = (labels[0, 4, 4] + 1) % 3  # one of the three valid pixels on the grid
    assert pixel_accuracy(logits, labels).item() == pytest.approx(200 / 3)
    assert pixel_accuracy(logits, torch.full_like(labels, 255)) == 0
