"""Trunks that mmseg does not have. Each returns a tuple of maps, as mmseg's own do."""

from wsss_mm.models.backbones.resnet38d import ResNet38d, convert_resnet38d_keys
from wsss_mm.models.backbones.resnet_cam import ResNetCAM
from wsss_mm.models.backbones.resnet_with_stem import ResNetWithStem
from wsss_mm.models.backbones.toy_net import ToyNet
from wsss_mm.models.backbones.vgg16 import VGG16, convert_vgg16_keys

__all__ = ['VGG16', 'ResNet38d', 'ResNetCAM', 'ResNetWithStem', 'ToyNet', 'convert_resnet38d_keys',
           'convert_vgg16_keys']
