"""Grad-CAM of the head's map and of any layer: GAIN's fixture, one backward for all, layers of every kind."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.localization import CAM, GradCAM
from wsss_mm.models.heads import BasePoolingHead, GAPHead

close = torch.testing.assert_close


class TwoLayers(BasePoolingHead):
    """The fixture's head: average pooling to half, two linear layers."""

    def __init__(self, data):
        super().__init__(4, 8)
        self.data = data

    def logits(self, feature_map):
        d = self.data
        hidden = F.linear(F.avg_pool2d(feature_map, 2).flatten(1), d['param_fc1_w'], d['param_fc1_b']).relu()
        return F.linear(hidden, d['param_fc2_w'], d['param_fc2_b'])


class Small(nn.Module):
    """A classifier out of given parts."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def extract_feat(self, inputs):
        return (self.backbone(inputs),)


def gain_classifier(data, head):
    convs = []
    for name, channels in (('conv1', (3, 6)), ('conv2', (6, 8))):
        convs += [nn.Conv2d(*channels, 3, padding=1, dtype=torch.float64)]
        convs[-1].load_state_dict({k: data[f'param_{name}_{k[0]}'] for k in ('weight', 'bias')})
    built = TwoLayers(data) if head == 'fc' else GAPHead(4, 8)
    built.double().classifier.weight.data = data['param_gap_w'][:, :, None, None]
    return Small(nn.Sequential(convs[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], nn.ReLU(inplace=True)), built).eval()


@pytest.mark.parametrize('layer', [None, 'backbone', 'backbone.4'])
@pytest.mark.parametrize('head', ['gap', 'fc'])
def test_gain_fixture(parity, head, layer):
    data = parity('gain/gain_tiny')
    model = gain_classifier(data, head)
    found = GradCAM(layer).maps(model, data['img'], data['labels'] > 0)
    close(found / 64, data[f'{head}_A_lin'], rtol=1e-9, atol=1e-12)     # 1/Z of 8 x 8 positions
    close(found.relu() / 64, data[f'{head}_A'], rtol=1e-9, atol=1e-12)


LAYERS = [('toy', 'backbone'), ('toy', 'backbone.layer1'), ('toy', 'backbone.stem'), ('toy', 'backbone.layer3.0.bn1'),
          ('mobile', 'backbone.layer3'), ('mobile', 'backbone.layer7.0'), ('swin', 'backbone.stages.3'),
          ('swin', 'backbone.stages.3.blocks.0'), ('swin', 'backbone.norm3'), ('swin', 'backbone'),
          ('mit', 'backbone.layers.2.1.0'), ('mit', 'backbone')]


def one_by_one(model, layer, inputs, tags):
    """As it is written: a forward and a backward per image and class."""
    found, seen = [], []
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda _, __, out: seen.append(
        out if isinstance(out, torch.Tensor) else [x for x in out if isinstance(x, torch.Tensor)][-1]))
    for image, label in tags.nonzero().tolist():
        logit = model(inputs[image:image + 1])[0, label]
        value, (gradient,) = seen[-1].detach(), torch.autograd.grad(logit, seen[-1])
        if value.dim() == 3:     # tokens of the head's map, 2 x 3
            value, gradient = (x.transpose(1, 2).unflatten(2, (2, 3)) for x in (value, gradient))
        found.append((gradient.sum((2, 3))[0, :, None, None] * value[0]).sum(0))
    handle.remove()
    return torch.stack(found)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(('backbone', 'layer'), LAYERS)
def test_all_classes_of_all_images_at_once(classifier_of, tags_of, backbone, layer):
    model, tags = classifier_of(backbone), tags_of((0, 3, 5), (), (2,))
    inputs = torch.randn(3, 3, *(8, 12) if backbone == 'toy' else (32, 48) if backbone == 'mit' else (64, 96))
    found = GradCAM(layer).maps(model, inputs, tags)
    expected = one_by_one(model, layer, inputs, tags)
    close(found, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())
    assert found.abs().amax((1, 2)).min() > 0


@pytest.mark.parametrize('backbone', ['toy', 'mobile', 'swin', 'mit'])
def test_of_average_pooling_it_is_the_class_map(classifier_of, tags_of, backbone):
    """Of the head's own map, by whichever name."""
    model, inputs, tags = classifier_of(backbone), torch.randn(2, 3, 64, 64), tags_of((1,), (0, 4))
    found = GradCAM().maps(model, inputs, tags)
    with torch.no_grad():
        close(found, CAM().maps(model, inputs, tags))
    if backbone != 'swin':       # its last norm comes before the map
        close(GradCAM('backbone').maps(model, inputs, tags), found)


@pytest.mark.parametrize('layer', [None, 'backbone.layer1'])
@pytest.mark.parametrize('head', ['GMPHead', 'HSPPHead', 'GPPHead'])
def test_other_heads_and_no_trace_left(classifier_of, tags_of, head, layer):
    model, inputs, tags = classifier_of(head=head), torch.randn(2, 3, 40, 56), tags_of((2, 3), (3,))
    both = GradCAM(layer).maps(model, inputs, tags)
    with torch.no_grad():
        close(torch.cat([GradCAM(layer).maps(model, inputs[i:i + 1], tags[i:i + 1]) for i in (0, 1)]), both)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled() and not both.requires_grad
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    assert GradCAM(layer).maps(model, inputs, tags & False).shape == (0, *CAM().maps(model, inputs, tags).shape[1:])


def test_frozen_networks_too(classifier_of, tags_of):
    model, inputs, tags = classifier_of(), torch.randn(2, 3, 32, 32), tags_of((2, 3), (3,))
    expected = GradCAM('backbone.layer1').maps(model, inputs, tags)
    close(GradCAM('backbone.layer1').maps(model.requires_grad_(False), inputs, tags), expected)


class Double(torch.autograd.Function):
    """A function of the user's, whose backward knows no batches."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return torch.from_numpy(2 * gradient.numpy())


FORMS = dict(     # what a layer makes of a map, and what the next layer takes
    map=(lambda x: x, lambda y, size: y),
    last=(lambda x: x.permute(0, 2, 3, 1), lambda y, size: y.permute(0, 3, 1, 2)),
    tokens=(lambda x: x.flatten(2).mT, lambda y, size: y.mT.unflatten(2, size)),
    pair=(lambda x: (x, (4, 5), 2 * x), lambda y, size: y[0]),
    dict=(lambda x: dict(map=x), lambda y, size: y['map']),
    windows=(lambda x: x.reshape(2 * len(x), -1, 4), lambda y, size: y.view(-1, 8, *size)))


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arguments):
        return self.function(*arguments)


class Formed(nn.Module):
    """A convolution, and a layer whose output is of another form."""

    def __init__(self, form):
        super().__init__()
        self.first, self.layer, self.back = nn.Conv2d(3, 8, 3, padding=1), *map(Apply, FORMS[form])

    def forward(self, x):
        x = self.first(x)
        return Double.apply(self.back(self.layer(x), x.shape[2:]))


@pytest.mark.parametrize('form', ['map', 'last', 'tokens', 'pair'])
def test_every_form_of_output_and_operations_without_batches(form):
    """Of the pair's tensors the logits depend on the first alone."""
    torch.manual_seed(0)
    model, inputs = Small(Formed(form), GAPHead(6, 8)).eval(), torch.randn(2, 3, 4, 5)
    tags = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0]]) > 0
    close(GradCAM('backbone.layer').maps(model, inputs, tags), GradCAM('backbone').maps(model, inputs, tags))
    close(GradCAM('backbone').maps(model, inputs, tags), CAM().maps(model, inputs, tags).detach())


def test_layers_that_will_not_do(classifier_of, tags_of):
    model, inputs, tags = classifier_of(objectives=[dict(type='wsss_mm.VisualWords', num_classes=6, in_channels=16)]
                                        ), torch.randn(1, 3, 32, 32), tags_of((1,))

    def message(layer, model=model):
        with pytest.raises(ConfigError) as caught:
            GradCAM(layer).maps(model, inputs, tags)
        assert not any(m._forward_hooks for m in model.modules()) and torch.is_grad_enabled()
        return str(caught.value)

    assert "no layer 'backbone.layr3'" in message('backbone.layr3') and 'backbone.layer3' in message('backbone.layr3')
    assert 'no layer' in message('') and 'no layer' in message(7)
    assert 'was not called' in message('objectives.0')
    assert 'no map of 1 images' in message('head') and 'L = 8 x 8' in message('head')
    with pytest.raises(ConfigError, match=r'\(1, 256, 24\), which is no map'):   # tokens of another resolution
        GradCAM('backbone.stages.0.blocks.0').maps(classifier_of('swin'), torch.randn(1, 3, 64, 64), tags)
    model.head.in_index = 0
    model.backbone.out_indices = (1, 2)
    assert 'do not depend on' in message('backbone.layer3') and 'None for' in message('backbone.layer3')
    for form, word in (('dict', 'was not called with a tensor'), ('windows', 'no map of 1 images')):
        assert word in message('backbone.layer', Small(Formed(form), GAPHead(6, 8)).eval())


def test_checkpointed_blocks_are_named(tags_of):
    from mmseg.registry import MODELS
    backbone = MODELS.build(dict(type='ResNet', depth=18, base_channels=8, with_cp=True))
    model = Small(backbone, GAPHead(6, 64)).eval()
    model.extract_feat = lambda inputs: model.backbone(inputs)
    inputs, tags = torch.randn(1, 3, 32, 32), tags_of((1, 2))
    with pytest.raises(ConfigError, match='with_cp=False'):
        GradCAM('backbone.layer3').maps(model, inputs, tags)
    assert GradCAM('backbone.layer4').maps(model, inputs, tags).shape == (2, 1, 1)    # none after it
