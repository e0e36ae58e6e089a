"""Small classifiers for the localizers, and every error with its remedy."""

import pytest
import torch
from mmengine.config import Config

from wsss_mm.registry import MODELS

BACKBONES = dict(
    toy=(dict(type='wsss_mm.ToyNet', channels=(8, 12, 16)), 16),
    mobile=(dict(type='MobileNetV2', widen_factor=.25, out_indices=(6,)), 80),
    swin=(dict(type='SwinTransformer', embed_dims=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 4), window_size=4), 192),
    mit=(dict(type='MixVisionTransformer', embed_dims=8, num_stages=3, num_layers=(1, 1, 1), num_heads=(1, 2, 2),
              patch_sizes=(7, 3, 3), strides=(4, 2, 2), sr_ratios=(4, 2, 1), out_indices=(0, 1, 2)), 16))


@pytest.fixture
def classifier_of():
    """Build a classifier of six classes in eval mode, with the same random weights every time."""

    def build(backbone='toy', head='GAPHead', seed=0, **model):
        torch.manual_seed(seed)
        network, channels = BACKBONES[backbone]
        built = MODELS.build(Config(dict(
            type='wsss_mm.CAMClassifier', backbone=network,
            head=dict(type=f'wsss_mm.{head}', num_classes=6, in_channels=channels),
            data_preprocessor=dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53],
                                   std=[58.395, 57.12, 57.375], bgr_to_rgb=True), **model)))
        torch.nn.init.normal_(built.head.classifier.weight)
        return built.eval()
    return build


@pytest.fixture
def scoring(classifier_of):
    """A classifier that scores every class somewhere."""
    def build(*args, **options):
        model = classifier_of(*args, **options)
        with torch.no_grad():
            model.head.classifier.weight += .5
        return model
    return build


@pytest.fixture
def tags_of():
    """Class indices per image -> ``(N, 6)`` bool."""
    return lambda *images: torch.tensor([[c in image for c in range(6)] for image in images])
