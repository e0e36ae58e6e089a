"""Weights adapted to an image: the classifier is as it was, and what is kept of a pass changes nothing but the time."""

import contextlib
import gc
import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization import CAM, RIB, AdvCAM, GradCAM, MultiScale, adaptation
from wsss_mm.registry import MODELS

LAYERS = ('backbone.layer2', 'backbone.layer3', 'head')


class Given:
    """Other images that are given, in the place of drawn ones."""

    def __init__(self, *batches):
        self.given = batches

    def batches(self, model, image_id, tags, batches):
        return iter(self.given[:batches])


@pytest.fixture
def others():
    generator = torch.Generator().manual_seed(3)
    return Given(*[(torch.randn(4, 3, 24, 24, generator=generator), torch.eye(6)[2:]) for _ in range(3)])


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (36, 44, 3), np.uint8)


def adapted(others=None, localizer=None, **options):
    settings = dict(steps=4, lr=2e-3, trained=LAYERS, target_scales=(1., 1.5), stop_logit=None, stop_area=None)
    rib = RIB(localizer or MultiScale(CAM(), scales=(.5, 1.)), **{**settings, **options})
    if others is not None:
        rib.others = others
    return rib


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


# ---------------------------------------------------------------- the classifier is as before

class Broken:
    def batches(self, *_):
        yield torch.zeros(2, 3, 24, 24), torch.eye(6)[:2]
        raise DataError('unreadable')


@contextlib.contextmanager
def untouched(model):
    """Nothing of the model, of its flags and of the random numbers is another afterwards."""
    def state():
        weights = [(name, id(p), p.requires_grad, p._version, p.detach().clone())
                   for name, p in model.named_parameters()]
        return (weights, [(name, m.training, sorted(vars(m))) for name, m in model.named_modules()],
                {name: b.clone() for name, b in model.named_buffers()})
    before = state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    yield
    after = state()
    for (*a, x), (*b, y) in zip(before[0][0], after[0], strict=True):
        assert a == b and torch.equal(x, y)
    assert before[0][1] == after[1]
    assert all(torch.equal(b, after[2][name]) for name, b in before[0][2].items())
    assert random.getstate() == before[1] and np.random.get_state()[1].tolist() == before[2]
    assert torch.equal(torch.get_rng_state(), before[3])
    assert all(p.grad is None for p in model.parameters())


def test_the_classifier_is_as_before(classifier_of, tags_of, image, others):
    model, tags, rib = classifier_of(), tags_of((0, 1)), adapted(others)
    model.backbone.layer2.requires_grad_(False)
    with untouched(model):
        first = rib.raw_maps(model, [image], tags)[0]
    same(rib.raw_maps(model, [image], tags)[0], first)
    steps = rib.trace(model, image, tags[0])
    with untouched(model):      # between steps, and where nobody asks for the rest
        next(steps)
    with untouched(model):
        next(steps)
        steps.close()
    model.train()
    with untouched(model):
        rib.raw_maps(model, [image], tags)


def test_the_classifier_is_as_before_after_errors(classifier_of, tags_of, image, monkeypatch):
    model, tags, rib = classifier_of(), tags_of((0, 1)), adapted(Broken())
    with untouched(model), pytest.raises(DataError, match='unreadable'):
        rib.raw_maps(model, [image], tags)

    def fail(*_):
        raise MemoryError

    rib = adapted()
    for owner, name in ((rib.localizer, 'raw_maps'), (torch.optim.SGD, 'step')):
        with monkeypatch.context() as patch, untouched(model), pytest.raises(MemoryError):
            patch.setattr(owner, name, fail)
            rib.raw_maps(model, [image], tags)


# ---------------------------------------------------------------- what is computed once

NETS = dict(
    toy=(dict(type='wsss_mm.ToyNet', channels=(8, 12, 16)), 16, LAYERS, 'layer1.conv1'),
    resnet=(dict(type='wsss_mm.ResNetCAM', depth=18, base_channels=8, stem_channels=8), 64,
            ('backbone.layer3', 'backbone.layer4', 'head'), 'layer2.0.conv1'),
    vgg=(dict(type='wsss_mm.VGG16'), 16, ('backbone.features.7', 'backbone.fc6', 'head'), 'features.5'),
    swin=(dict(type='SwinTransformer', embed_dims=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4), window_size=4), 192,
          ('backbone.stages.3', 'head'), None))


@pytest.fixture
def net_of(classifier_of):
    """A classifier with one of these backbones."""
    def build(net):
        config, channels, *_ = NETS[net]
        model = classifier_of()
        torch.manual_seed(0)
        model.backbone = MODELS.build(config)
        model.backbone.init_weights()
        for layer in model.backbone.modules():      # ResNet's blocks begin with a 0
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, .5, 1.5)
        if net == 'vgg':        # its large layers are not what matters here
            model.backbone.features = model.backbone.features[:10]
            model.backbone.fc6, model.backbone.fc7 = nn.Conv2d(128, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        model.head = MODELS.build(Config(dict(type='wsss_mm.GAPHead', num_classes=6, in_channels=channels)))
        nn.init.normal_(model.head.classifier.weight, std=.1)
        return model.eval()
    return build


@pytest.mark.parametrize('net', NETS)
@pytest.mark.parametrize('localizer', [CAM(), AdvCAM(steps=2), GradCAM(), 'layer'], ids=lambda x: type(x).__name__)
def test_what_is_kept_changes_nothing(net_of, tags_of, image, others, monkeypatch, net, localizer):
    _, _, trained, stage = NETS[net]
    if localizer == 'layer':        # a layer that is watched has to run
        localizer = GradCAM('backbone.' + (stage or 'stages.2'))
    model = net_of(net)
    rib = adapted(others, localizer=MultiScale(localizer, scales=(.5, 1.)), steps=3, lr=1e-4, trained=trained)
    found = list(rib.trace(model, image, tags_of((0, 1))[0]))
    with monkeypatch.context() as patch:
        patch.setattr(adaptation.StageCache, 'used', lambda *_, **__: contextlib.nullcontext())
        patch.setattr('wsss_mm.localization.rib.known_features', lambda *_: contextlib.nullcontext())
        expected = list(rib.trace(model, image, tags_of((0, 1))[0]))
    for a, b in zip(found, expected, strict=True):
        same(a, b)
    assert any((b - 2 * a).abs().max() > 1e-4 * b.max() for a, b in zip(*found[:2], strict=True))


@pytest.mark.parametrize('net', [net for net in NETS if NETS[net][3]])
def test_stages_before_the_trained_ones_run_once(net_of, tags_of, image, net):
    _, _, trained, stage = NETS[net]
    model = net_of(net)
    counted = model.get_submodule(f'backbone.{stage}')
    calls = []

    def forward(x, plain=counted.forward):
        calls.append(tuple(x.shape))
        return plain(x)

    counted.forward = forward
    rib = adapted(steps=4, trained=trained, lr=1e-6)
    rib.raw_maps(model, [image], tags_of((0, 1)))
    assert len(calls) == 3      # target scales 1 and 1.5, and scale .5 of the maps
    rib.others = Given(*[(torch.zeros(2, 3, 24, 24), torch.eye(6)[:2])] * 3)
    calls.clear()
    rib.raw_maps(model, [image], tags_of((0, 1)))
    assert len(calls) == 3 + 3


class Shared(nn.Module):
    """A ReLU without weights that works in place, before and after the trained layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(inplace=True)

    def forward(self, x):
        return (self.relu(self.two(self.relu(self.one(x)))),)


class Shifting(Shared):
    """A trained layer that writes into its input."""

    def forward(self, x):
        return (self.relu(self.two(self.one(x).add_(.5))),)


class Twice(Shared):
    """The same layer before and after the trained one."""

    def forward(self, x):
        return (self.relu(self.one(self.two(self.one(x))[:, :3])),)


@pytest.mark.parametrize('backbone', [Shared, Shifting, Twice])
def test_what_is_kept_is_what_would_be_computed(classifier_of, tags_of, image, monkeypatch, backbone):
    model, tags = classifier_of(), tags_of((0, 1))
    torch.manual_seed(0)
    model.backbone, model.head = backbone(), MODELS.build(Config(dict(
        type='wsss_mm.GAPHead', num_classes=6, in_channels=8)))
    nn.init.normal_(model.head.classifier.weight)
    model.eval()
    rib = adapted(trained=('backbone.two',))
    found = rib.raw_maps(model, [image], tags)[0]
    with monkeypatch.context() as patch:
        patch.setattr(adaptation.StageCache, 'used', lambda *_, **__: contextlib.nullcontext())
        same(found, rib.raw_maps(model, [image], tags)[0])
    assert any(maps.any() for maps in found) and model.backbone.relu.inplace


def test_memory_does_not_grow(classifier_of, tags_of, image):
    model, tags = classifier_of(), tags_of((0, 1))
    rib = adapted(localizer=MultiScale(CAM(), scales=(1.,)), steps=2, target_scales=(1.,))

    def run(images):
        for i in range(images):
            rib.raw_maps(model, [image[:12 + i % 3, :16]], tags, [str(i)])
        gc.collect()
        return sum(isinstance(x, torch.Tensor) for x in gc.get_objects())

    assert run(10) == run(100)


# ---------------------------------------------------------------- wrong parts

def test_parts_that_there_are_not(classifier_of, tags_of, image):
    model, tags = classifier_of(), tags_of((0, 1))
    with pytest.raises(ConfigError, match='backbone.layer4') as error:
        adapted(trained=('backbone.layer3', 'backbone.layer4', 'head')).raw_maps(model, [image], tags)
    assert 'backbone.layer3' in error.value.expected
    with pytest.raises(ConfigError, match='no weights'):
        adapted(trained=('backbone.layer',)).raw_maps(model, [image], tags)


def test_parts_that_the_maps_do_not_depend_on(classifier_of, tags_of, image):
    model, tags = classifier_of(), tags_of((0, 1))
    model.spare = nn.Linear(2, 2)
    for trained in (('spare', 'head'), ('spare',)):
        with untouched(model), pytest.raises(ConfigError, match="'spare'.* do not depend"):
            adapted(trained=trained).raw_maps(model, [image], tags)
