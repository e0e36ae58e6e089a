"""RIB: the published numbers, its stops, and what it must leave as it was."""


import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from wsss_mm.localization.rib import gndrp
from wsss_mm.registry import MODELS, TASK_UTILS

close = torch.testing.assert_close
TOY = dict(trained=('backbone.layer2', 'backbone.layer3', 'head'), target_scales=(1.,), stop_logit=None)


class Stages(nn.Module):
    """The four convolutions of the fixture."""

    def __init__(self, data):
        super().__init__()
        for i in range(1, 5):
            weight = data[f'w{i}']
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1)
            conv.weight.data, conv.bias.data = weight.clone(), data[f'b{i}'].clone()
            self.add_module(f'stage{i}', nn.Sequential(conv, nn.ReLU(inplace=True)))

    def forward(self, x):
        return (self.stage4(self.stage3(self.stage2(self.stage1(x)))),)


class Given:
    """The fixture's other images in the place of drawn ones."""

    def __init__(self, data):
        self.data = data

    def batches(self, model, image_id, tags, batches):
        return iter(list(zip(self.data['aux_images'].float(), self.data['aux_labels'], strict=True))[:batches])


@pytest.fixture
def published(parity, classifier_of):
    """The fixture, its classifier, and RIB with its settings."""
    data = parity('rib/gndrp_full')
    model = classifier_of()
    model.backbone = Stages(data)
    model.head = MODELS.build(Config(dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=24)))
    model.head.classifier.weight.data = data['wc'][:, :, None, None].clone()
    rib = TASK_UTILS.build(dict(
        type='wsss_mm.RIB', localizer=dict(type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM')), steps=6,
        lr=2e-3, trained=('backbone.stage3', 'backbone.stage4', 'head'), stop_logit=None, stop_area=None))
    rib.others = Given(data)
    return data, model.eval(), rib


def test_parity_of_gndrp(parity):
    data = parity('rib/gndrp_pooling')
    maps = data['x'].requires_grad_()
    tags = torch.zeros(5, 20).index_fill(1, data['classes'], 1)
    pooled = gndrp(maps, tags)
    close(pooled, data['pooled'])
    close(torch.autograd.grad(pooled.sum(), maps)[0], data['grad'])
    close(gndrp(maps, data['row_labels']), data['pooled_rowlabels'])
    close(maps.mean((2, 3)), data['gap'])


def test_parity_of_the_maps(published):
    data, model, rib = published
    image, tags = data['image'].numpy(), data['label'] > 0
    raw, = rib.raw_maps(model, [image], tags[None])
    for i, maps in enumerate(raw):
        close(maps[:, 0] + maps[:, 1].flip(2), data[f'sum_scale{i}'][data['keys']], rtol=1e-4, atol=1e-3)
    found, = rib.class_maps(model, [image], tags[None])
    np.testing.assert_allclose(found.maps, data['high_res'], atol=1e-4)
