"""VGG16 against the official network's output, both kinds of pretrained files, ToyNet's shape of view."""

import numpy as np
import pytest
import torch
from torch import nn

from wsss_mm.errors import CheckpointError, ConfigError
from wsss_mm.models.backbones import VGG16, ToyNet, convert_vgg16_keys
from wsss_mm.models.backbones.pretrained import load_pretrained
from wsss_mm.registry import MODELS

TORCHVISION_CONVS = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
CAFFE_CONVS = ['1_1', '1_2', '2_1', '2_2', '3_1', '3_2', '3_3', '4_1', '4_2', '4_3', '5_1', '5_2', '5_3']


@pytest.fixture(scope='module')
def vgg():
    return VGG16(fc_dilation=12).eval()


def rule(n, i):
    """The fixture's fill, see its note."""
    x = 43758.5453 * np.sin(12.9898 * np.arange(n, dtype=np.float64) + 78.233 * i + 1.)
    return torch.from_numpy((2 * (x - np.floor(x)) - 1).astype(np.float32))


def test_vgg16_large_fov_matches_the_official_network(vgg, parity):
    expected = parity('bana/net_vgg_largefov')
    convs = [m for m in vgg.modules() if isinstance(m, nn.Conv2d)]
    table = [[0, m.out_channels, m.in_channels, m.kernel_size[0], m.stride[0], m.padding[0], m.dilation[0], 1]
             for m in convs]
    assert table == expected['layer_table'][:15, 1:].tolist()
    for i, conv in enumerate(convs):
        fan_in = conv.weight[0].numel()
        conv.weight.data = (6 / fan_in) ** .5 * rule(conv.weight.numel(), i).view_as(conv.weight)
        conv.bias.data = .1 * rule(conv.bias.numel(), i + .5)
    with torch.no_grad():
        outputs = vgg(expected['input'])
    assert isinstance(outputs, tuple) and len(outputs) == 1
    torch.testing.assert_close(outputs[0][0, ::8], expected['features'], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(outputs[0][0].norm(dim=0), expected['feature_l2'], rtol=1e-3, atol=1e-3)


def test_vgg16_without_its_fully_connected_layers(vgg):
    """The map of conv5_3, at stride 8; weights of a file that has these layers are taken all the same."""
    net = VGG16(fully_connected=False).eval()
    assert {k.split('.')[0] for k in net.state_dict()} == {'features'}
    load_pretrained(net, vgg.state_dict(), file='vgg', unused=net.unused_parts)
    image = torch.randn(1, 3, 65, 73)
    with torch.no_grad():
        found, = net(image)
        torch.testing.assert_close(found, vgg.features[:-1](image))
    assert found.shape == (1, 512, 9, 10) and found.min() >= 0


def test_vgg16_drops_whole_channels_in_training_alone():
    net = VGG16()
    with torch.no_grad():
        net.fc7.bias.fill_(1.)  # every channel is alive
        net.fc7.weight.zero_()
        dropped = (net.train()(torch.randn(1, 3, 32, 32))[0] == 0).flatten(2)
        kept = net.eval()(torch.randn(1, 3, 32, 32))[0]
    assert torch.equal(dropped.any(2), dropped.all(2)) and .3 < dropped.float().mean() < .7
    assert torch.equal(kept, torch.ones_like(kept))


def weights_of(net, names):
    """A constant per layer (one stored number, whatever the shape): conv number i has weight i + 1, bias -i - 1."""
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    state = {}
    for i, (name, conv) in enumerate(zip(names, convs, strict=False)):
        state[f'{name}.weight'] = torch.tensor(i + 1.).expand(conv.weight.shape)
        state[f'{name}.bias'] = torch.tensor(-i - 1.).expand(conv.bias.shape)
    return state


def load(net, path, state, **options):
    torch.save(state, path)
    net._is_init = False
    net.init_cfg = [dict(type='Pretrained', checkpoint=str(path), **options)]
    net.init_weights()


def firsts(net):
    return [m.weight.flatten()[-1].item() for m in net.modules() if isinstance(m, nn.Conv2d)]


def test_vgg16_takes_torchvision_weights_and_leaves_the_rest(vgg, tmp_path):
    state = weights_of(vgg, [f'features.{n}' for n in TORCHVISION_CONVS])
    state['classifier.0.weight'] = torch.tensor(0.).expand(4096, 25088)
    fc6 = vgg.fc6.weight.clone()
    load(vgg, tmp_path / 'vgg16.pth', state)
    assert firsts(vgg)[:13] == [float(i) for i in range(1, 14)]
    assert torch.equal(vgg.fc6.weight, fc6)


def test_vgg16_takes_caffe_weights_with_fc6_and_fc7(vgg, tmp_path):
    state = weights_of(vgg, [f'conv{n}' for n in CAFFE_CONVS] + ['fc6', 'fc7'])
    state['fc8_voc12.weight'] = torch.zeros(21, 1024, 1, 1)
    load(vgg, tmp_path / 'vgg16_20M.pth', state)
    assert firsts(vgg) == [float(i) for i in range(1, 16)]
    assert vgg.features[28].bias[0] == -13
    assert set(convert_vgg16_keys(state)) >= {'features.28.weight', 'fc6.weight', 'fc8_voc12.weight'}


def test_vgg16_takes_a_trained_classifiers_backbone(vgg, tmp_path):
    names = [f'backbone.features.{n}' for n in TORCHVISION_CONVS] + ['backbone.fc6', 'backbone.fc7']
    state = dict(state_dict={**weights_of(vgg, names), 'head.classifier.weight': torch.zeros(21, 1024, 1, 1)})
    load(vgg, tmp_path / 'final.pth', state, prefix='backbone.')
    assert firsts(vgg)[-1] == 15
    with pytest.raises(CheckpointError, match="'trunk.'.*backbone.features.0"):
        load(vgg, tmp_path / 'final.pth', state, prefix='trunk')
    with pytest.raises(CheckpointError, match='missing: features.0.weight.*unexpected: backbone.features.0.weight'):
        load(vgg, tmp_path / 'final.pth', state)


def test_weights_of_another_network_are_refused(vgg, tmp_path):
    before = vgg.features[0].weight.clone()
    with pytest.raises(CheckpointError, match='26 missing: features.0.weight.*1 unexpected: conv1.weight') as error:
        load(vgg, tmp_path / 'resnet.pth', {'conv1.weight': torch.ones(64, 3, 7, 7)})
    assert str(tmp_path / 'resnet.pth') in str(error.value)
    state = weights_of(vgg, [f'features.{n}' for n in TORCHVISION_CONVS])
    state['features.0.weight'] = torch.ones(64, 1, 3, 3)
    with pytest.raises(CheckpointError, match=r'features.0.weight \(64, 1, 3, 3\) instead of \(64, 3, 3, 3\)'):
        load(vgg, tmp_path / 'grey.pth', state)
    with pytest.raises(CheckpointError, match='no such checkpoint'):
        vgg._is_init, vgg.init_cfg = False, [dict(type='Pretrained', checkpoint=str(tmp_path / 'none.pth'))]
        vgg.init_weights()
    assert torch.equal(vgg.features[0].weight, before)


def test_toy_net_strides_and_stages():
    net = MODELS.build(dict(type='wsss_mm.ToyNet', output_stride=8, out_indices=(0, 2), last_dilations=(1, 2)))
    low, high = net(torch.randn(1, 3, 96, 64))
    assert low.shape == (1, 64, 24, 16) and high.shape == (1, 96, 12, 8)
    assert len(net.layer3) == 2 and high.is_contiguous(memory_format=torch.channels_last)
    high.sum().backward()
    assert net.stem[0].weight.grad.abs().sum() > 0


def test_toy_net_last_kernel_1_sees_less():
    def extent(net):
        net.eval().stem = nn.Identity()
        for parameter in net.parameters():
            parameter.data.abs_()  # no ReLU cuts a path
        stem = torch.ones(1, 32, 40, 40, requires_grad=True)
        net(stem)[0][0, :, 20, 20].sum().backward()
        return stem.grad[0].sum((0, 1)).ne(0).sum().item()

    small, large, dilated = (extent(ToyNet(**options)) for options in (
        dict(), dict(last_kernel=3), dict(last_kernel=3, last_dilations=(2,))))
    assert (small, large, dilated) == (9, 13, 17)


def test_toy_net_batch_equals_single_images():
    net, images = ToyNet().eval(), torch.randn(3, 3, 48, 48)
    singles = torch.cat([net(image[None])[0] for image in images])
    torch.testing.assert_close(net(images)[0], singles, rtol=1e-5, atol=1e-5)


def test_toy_net_keeps_its_own_last_stage_where_the_checkpoint_has_another(tmp_path):
    source = ToyNet()
    path = tmp_path / 'patches.pth'
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in source.state_dict().items()}), path)
    init = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    net = ToyNet(last_kernel=3, init_cfg=init)
    own = net.layer3[0].conv1.weight.clone(), net.layer3[0].bn1.weight.data.fill_(.5).clone()
    net.init_weights()
    assert torch.equal(net.layer2.conv1.weight, source.layer2.conv1.weight)
    assert torch.equal(net.layer3[0].conv1.weight, own[0]) and torch.equal(net.layer3[0].bn1.weight, own[1])
    same = ToyNet(init_cfg=init)
    same.init_weights()
    assert torch.equal(same.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    with pytest.raises(CheckpointError, match='of another shape: stem.0.weight'):
        ToyNet(channels=(16, 32, 48), init_cfg=init).init_weights()


def test_toy_net_at_stride_2_is_the_same_network_seen_more_densely():
    torch.manual_seed(0)
    coarse, dense = (ToyNet(output_stride=stride, out_indices=(0, 1, 2)).eval() for stride in (4, 2))
    dense.load_state_dict(coarse.state_dict())
    images = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        for few, many in zip(coarse(images), dense(images), strict=True):
            torch.testing.assert_close(many[..., ::2, ::2], few, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('options', [dict(output_stride=16), dict(out_indices=(3,))])
def test_toy_net_refuses_unknown_stages(options):
    with pytest.raises(ConfigError, match='ToyNet'):
        ToyNet(**options)


def test_toy_net_with_running_statistics():
    """Of ``norm_eval``: training and use are one function, statistics stay, weights and biases of norms learn."""
    torch.manual_seed(0)
    net = ToyNet(channels=(8, 12, 16), norm_eval=True)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(.5, 2)
    images = torch.randn(2, 3, 32, 32)
    before = {name: value.clone() for name, value in net.named_buffers()}
    used, = net.eval()(images)
    trained, = net.train()(images)
    assert net.training and torch.equal(used, trained)
    trained.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    assert net.layer1.bn1.weight.grad.abs().sum() > 0
    assert not torch.equal(ToyNet(channels=(8, 12, 16)).train()(images)[0], used)
