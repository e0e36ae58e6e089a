"""ResNetCAM and ResNet38d: sizes, frozen parts, where gradients stop, statistics at rest, foreign weight files."""

import struct

import numpy as np
import pytest
import torch
from torch import nn

from wsss_mm.errors import CheckpointError, ConfigError
from wsss_mm.models.backbones import ResNet38d, ResNetCAM, convert_resnet38d_keys
from wsss_mm.models.backbones.mxnet_params import read_mxnet_params
from wsss_mm.registry import MODELS


def count(module, trained=False):
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def small38(**options):
    return ResNet38d(base_channels=2, **options)


@pytest.fixture
def resnet18():
    torch.manual_seed(0)
    net = MODELS.build(dict(type='wsss_mm.ResNetCAM', depth=18))
    net.init_weights()
    return net


def without_gradient(net):
    """Names of the parts (to the first dot) whose weights got none."""
    parts = {}
    for name, parameter in net.named_parameters():
        parts.setdefault(name.split('.')[0], set()).add(parameter.grad is not None)
    assert all(len(found) == 1 for found in parts.values())
    return {name for name, found in parts.items() if found == {False}}


def statistics(net):
    return [b.clone() for n, b in net.named_buffers()]


# ---- ResNetCAM
def test_resnet_cam_has_the_parameters_and_sizes_of_irn():
    with torch.device('meta'):
        net = ResNetCAM()
        assert count(net.conv1) + count(net.bn1) + count(net.layer1) == 225_344
        assert [count(net.layer2), count(net.layer3), count(net.layer4)] == [1_219_584, 7_098_368, 14_964_736]
        assert count(net, trained=True) == 7_098_368 + 14_964_736
        for height, width in ((375, 500), (512, 512), (33, 16)):
            outputs = net(torch.zeros(1, 3, height, width))
            assert [tuple(m.shape) for m in outputs] == [(1, 2048, -(-height // 16), -(-width // 16))]
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert {c.dilation for c in convs} == {(1, 1)}
    assert net.layer2[0].conv2.stride == (2, 2) and net.layer2[0].conv1.stride == (1, 1)


@pytest.mark.parametrize('stages, silent', [
    (2, {'conv1', 'bn1', 'layer1', 'layer2'}), (0, {'conv1', 'bn1'}), (-1, set())])
def test_resnet_cam_trains_what_is_not_frozen_and_keeps_statistics(stages, silent):
    net = ResNetCAM(depth=18, frozen_stages=stages).train()
    before = statistics(net)
    image = torch.randn(2, 3, 64, 48, requires_grad=True)
    net(image)[0].square().sum().backward()
    assert without_gradient(net) == silent
    assert image.grad.abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(net), strict=True))
    assert net.training and not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_resnet_cam_gives_what_a_cut_after_stage_2_gives(resnet18):
    """IRN cuts the graph there; freezing gives the same gradients of the rest."""
    image = torch.randn(2, 3, 64, 64)
    resnet18.train()(image)[0].square().sum().backward()
    frozen = {n: p.grad for n, p in resnet18.named_parameters() if p.grad is not None}
    free = ResNetCAM(depth=18, frozen_stages=-1)
    free.load_state_dict(resnet18.state_dict())
    x = free.train().maxpool(free.relu(free.bn1(free.conv1(image))))
    free.layer4(free.layer3(free.layer2(free.layer1(x)).detach())).square().sum().backward()
    cut = {n: p.grad for n, p in free.named_parameters() if p.grad is not None}
    assert cut.keys() == frozen.keys()
    for name in cut:
        torch.testing.assert_close(cut[name], frozen[name])


def test_resnet_cam_batch_equals_single_images(resnet18):
    images = torch.randn(3, 3, 48, 80)
    with torch.no_grad():
        singles = torch.cat([resnet18.eval()(image[None])[0] for image in images])
        torch.testing.assert_close(resnet18(images)[0], singles, rtol=1e-4, atol=1e-4)


def test_resnet_cam_takes_torchvision_and_irn_weights_and_refuses_others(resnet18, tmp_path):
    weights = resnet18.state_dict()
    files = dict(
        torchvision={**weights, 'fc.weight': torch.zeros(1000, 512), 'fc.bias': torch.zeros(1000)},
        irn={f'{alias}.{k}': v for alias in ('resnet50', 'stages') for k, v in weights.items()})
    for name, state in files.items():
        torch.save(state, tmp_path / f'{name}.pth')
    for name, options in (('torchvision', {}), ('irn', dict(prefix='resnet50.'))):
        net = ResNetCAM(depth=18, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / f'{name}.pth'), **options))
        net.init_weights()
        assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'torchvision.pth'))
    with pytest.raises(CheckpointError, match='of another network.*missing: layer1.0.conv3.weight'):
        ResNetCAM(depth=50, init_cfg=init).init_weights()


# ---- ResNet38d
def test_resnet38d_has_the_parameters_and_sizes_of_the_paper():
    with torch.device('meta'):
        net = ResNet38d(out_indices=(0, 1, 2, 3))
        maps = net(torch.zeros(1, 3, 97, 320))
    assert [tuple(m.shape) for m in maps] == [(1, c, 13, 40) for c in (512, 1024, 2048, 4096)]
    # AEFT: 106.1 M of which 105.3 M are trained, with the embedding, the class layer, six gates, and a batch norm of
    # the embedding that is declared there and never used
    heads = 4096 * 256 + 256 * 20 + 6 * 2 * 40 * 9
    assert count(net) == 105_070_912 and round((count(net) + heads + 512) / 1e6, 1) == 106.1
    assert round((count(net, trained=True) + heads) / 1e6, 1) == 105.3
    assert net.b6.dropout.p == net.b7.dropout.p == .2
    convs = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    dilated = {n: m.dilation[0] for n, m in convs.items() if m.dilation[0] > 1}
    assert dilated == {'b5.conv_branch2b1': 2, 'b5_1.conv_branch2a': 2, 'b5_1.conv_branch2b1': 2,
                       'b5_2.conv_branch2a': 2, 'b5_2.conv_branch2b1': 2, 'b6.conv_branch2b1': 4,
                       'b7.conv_branch2b1': 4}
    assert {n for n, m in convs.items() if m.stride[0] == 2} == {
        f'b{i}.conv_branch{kind}' for i in (2, 3, 4) for kind in ('1', '2a')}
    assert {n.split('.')[0] for n in convs if n.endswith('conv_branch1')} == {'b2', 'b3', 'b4', 'b5', 'b6', 'b7'}
    assert all(m.bias is None for m in convs.values())
    assert (net.b6.conv_branch2a.out_channels, net.b6.conv_branch2b1.out_channels) == (512, 1024)
    assert (net.b7.conv_branch2a.out_channels, net.b7.conv_branch2b1.out_channels) == (1024, 2048)
    assert net.b5_1.conv_branch2a.out_channels == 512


def test_resnet38d_blocks_by_hand():
    """1x1 images of single numbers: batch norm, ReLU, residual, and which of the inputs the shortcut takes."""
    torch.manual_seed(0)
    net = small38(out_indices=(0, 1, 2, 3)).eval()
    x = torch.randn(1, 2 * 8, 5, 6)

    def unit(v):
        return (v / (1 + 1e-5) ** .5).relu()

    def conv(v, layer):
        return nn.functional.conv2d(v, layer.weight, None, layer.stride, layer.padding, layer.dilation)

    same, bottle = net.b4_1, net.b6
    opened = unit(x)
    torch.testing.assert_close(same.open(x), opened)
    expected = x + conv(unit(conv(opened, same.conv_branch2a)), same.conv_branch2b1)
    torch.testing.assert_close(same(x, same.open(x)), expected)
    y = torch.randn(1, 2 * 16, 5, 6)
    opened = unit(y)
    inner = conv(unit(conv(opened, bottle.conv_branch2a)), bottle.conv_branch2b1)
    expected = conv(opened, bottle.conv_branch1) + conv(unit(inner), bottle.conv_branch2b2)
    torch.testing.assert_close(bottle(y, bottle.open(y)), expected)


def test_resnet38d_trains_what_is_not_frozen_and_keeps_statistics():
    net = small38().train()
    before = statistics(net)
    image = torch.randn(2, 3, 40, 33, requires_grad=True)
    (output,) = net(image)
    assert output.shape == (2, 128, 5, 5) and output.min() >= 0
    output.square().sum().backward()
    got = {n for n, p in net.named_parameters() if p.grad is not None}
    convs = {n for n, _ in net.named_parameters() if 'conv' in n}
    assert got == {n for n in convs if not n.startswith(('conv1a', 'b2'))}
    assert not any(p.requires_grad for n, p in net.named_parameters() if n not in got)
    assert image.grad.abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(net), strict=True))
    assert net.training and not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_resnet38d_drops_whole_channels_in_training_alone():
    net = small38(dropout=(0., .5))
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(net.eval()(image)[0], net(image)[0])
    seen = []
    net.b7.conv_branch2b2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net.b7.bn_branch2b2.bias.fill_(9.)
        net.train()(image)
        net.eval()(image)
    dropped = (seen[0] == 0).flatten(2)
    assert torch.equal(dropped.any(2), dropped.all(2)) and .2 < dropped.float().mean() < .8
    assert (seen[1] > 0).all()


def test_resnet38d_refuses_maps_there_are_none_of():
    with pytest.raises(ConfigError, match='out_indices'):
        small38(out_indices=(4,))


def loaded38(path):
    net = small38(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    net.init_weights()
    return net.state_dict()


def mxnet_names(state):
    """This module's names -> those of the original file."""
    kinds = dict(weight='gamma', bias='beta', running_mean='moving_mean', running_var='moving_var')
    names = {}
    for key in state:
        block, _, rest = key.partition('.')
        if block == 'conv1a':
            names[key] = 'arg:conv1a_weight'
            continue
        layer, _, what = rest.rpartition('.')
        if what == 'num_batches_tracked':
            continue
        group = 'aux' if what.startswith('running') else 'arg'
        if block == 'bn7':
            names[key] = f'{group}:bn7_{kinds[what]}'
            continue
        stage = block.replace('b', '').replace('_', 'b') + ('' if '_' in block else 'a')
        kind, _, branch = layer.partition('_')
        what = 'weight' if kind == 'conv' else kinds[what]
        names[key] = f'{group}:{"res" if kind == "conv" else "bn"}{stage}_{branch}_{what}'
    return names


def write_params(path, arrays, version=None):
    """mx.nd.save's file; ``version`` None is the oldest form, which resnet_38d.params may be of."""
    parts = [struct.pack('<QQQ', 0x112, 0, len(arrays))]
    for array in arrays.values():
        if version is None:
            parts.append(struct.pack(f'<I{array.ndim}I', array.ndim, *array.shape))
        else:
            sparse = struct.pack('<i', 0) if version > 1 else b''
            parts.append(struct.pack('<I', 0xF993FAC7 + version) + sparse
                         + struct.pack(f'<I{array.ndim}q', array.ndim, *array.shape))
        parts.append(struct.pack('<iii', 1, 0, 0) + array.astype('<f4').tobytes())
    parts.append(struct.pack('<Q', len(arrays)))
    parts += [struct.pack('<Q', len(n)) + n.encode() for n in arrays]
    path.write_bytes(b''.join(parts))


@pytest.mark.parametrize('version', [None, 1, 2, 3])
def test_resnet38d_takes_the_original_file(tmp_path, version):
    torch.manual_seed(1)
    source = small38()
    source.init_weights()
    for buffer in source.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(.5, 1.5)
    state = source.state_dict()
    names = mxnet_names(state)
    assert names['b3_2.bn_branch2b1.running_var'] == 'aux:bn3b2_branch2b1_moving_var'
    assert names['b6.conv_branch1.weight'] == 'arg:res6a_branch1_weight'
    arrays = {names[k]: state[k].numpy() for k in names} | {'arg:linear1000_bias': np.zeros(3, np.float32)}
    write_params(tmp_path / 'resnet_38d.params', arrays, version)
    read = read_mxnet_params(tmp_path / 'resnet_38d.params')
    assert read.keys() == arrays.keys() and torch.equal(read['arg:conv1a_weight'], state['conv1a.weight'])
    loaded = loaded38(tmp_path / 'resnet_38d.params')
    assert all(torch.equal(v, state[k]) for k, v in loaded.items())


def test_resnet38d_takes_the_fields_own_files_and_leaves_heads(tmp_path):
    torch.manual_seed(2)
    source = small38()
    state = source.state_dict()
    torch.save({**{f'module.{k}': v for k, v in state.items()}, 'module.fc8.weight': torch.zeros(20, 128, 1, 1)},
               tmp_path / 'res38_cls.pth')
    assert all(torch.equal(v, state[k]) for k, v in loaded38(tmp_path / 'res38_cls.pth').items())
    assert not convert_resnet38d_keys({'fc8.weight': torch.zeros(1), 'arg:linear1000_bias': torch.zeros(1)})


def test_resnet38d_refuses_other_networks_and_broken_files(tmp_path, resnet18):
    torch.save(resnet18.state_dict(), tmp_path / 'resnet18.pth')
    with pytest.raises(CheckpointError, match='missing: conv1a.weight'):
        loaded38(tmp_path / 'resnet18.pth')
    state = small38().state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith('b4_5')}, tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match='missing: b4_5'):
        loaded38(tmp_path / 'part.pth')
    write_params(tmp_path / 'whole.params', {'arg:conv1a_weight': state['conv1a.weight'].numpy()})
    data = (tmp_path / 'whole.params').read_bytes()
    for name, broken in (('cut', data[:100]), ('head', b'PK' + data[2:]), ('empty', b'')):
        (tmp_path / f'{name}.params').write_bytes(broken)
        with pytest.raises(CheckpointError, match='not readable as MXNet parameters'):
            read_mxnet_params(tmp_path / f'{name}.params')
    with pytest.raises(CheckpointError, match='no such checkpoint'):
        read_mxnet_params(tmp_path / 'none.params')
