"""Tiny detectors of every kind that can be explained, with random weights."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope

from wsss_mm.requirements import has_mmdet

if has_mmdet():
    from mmdet.registry import MODELS as DETECTORS
else:
    collect_ignore_glob = ['test_*.py']   # a conftest that skips ends the whole session
STRIDES = [4, 8, 16, 32]


def _rpn(strides, channels=16):
    return dict(
        type='RPNHead', in_channels=channels, feat_channels=channels,
        anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[1.], strides=strides),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'), loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'))


def _head(stds=(.1, .1, .2, .2), **options):
    return {**dict(
        type='Shared2FCBBoxHead', in_channels=16, fc_out_channels=32, roi_feat_size=3, num_classes=3,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=list(stds)), reg_class_agnostic=False,
        loss_cls=dict(type='CrossEntropyLoss'), loss_bbox=dict(type='L1Loss')), **options}


def _extractor(strides, size=3, channels=16):
    return dict(type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=size, sampling_ratio=0),
                out_channels=channels, featmap_strides=strides, finest_scale=12)


def detector_config(kind: str) -> dict:
    """Config of a tiny detector of three classes.

    Args:
        kind: ``'fpn'``, ``'agnostic'``, ``'no_boxes'``, ``'mask'``, ``'cascade'``, ``'c4'`` or ``'sabl'``.
    """
    test = dict(rpn=dict(nms_pre=50, max_per_img=20, nms=dict(type='nms', iou_threshold=.7), min_bbox_size=0),
                rcnn=dict(score_thr=.0, nms=dict(type='nms', iou_threshold=.5), max_per_img=5, mask_thr_binary=.5))
    config = dict(
        type='FasterRCNN', data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
        backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_eval=True),
        neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=16, num_outs=5),
        rpn_head=_rpn([*STRIDES, 64]),
        roi_head=dict(type='StandardRoIHead', bbox_roi_extractor=_extractor(STRIDES), bbox_head=_head()),
        train_cfg=None, test_cfg=test)
    roi = config['roi_head']
    if kind == 'agnostic':
        roi['bbox_head'] = _head((.05, .05, .1, .1), reg_class_agnostic=True)
    elif kind == 'no_boxes':
        roi['bbox_head'] = _head(with_reg=False)
    elif kind == 'sabl':
        roi['bbox_head'] = dict(
            type='SABLHead', num_classes=3, cls_in_channels=16, reg_in_channels=16, roi_feat_size=7,
            reg_feat_up_ratio=2, reg_pre_kernel=3, reg_post_kernel=3, reg_pre_num=2, reg_post_num=1,
            cls_out_channels=32, reg_offset_out_channels=16, reg_cls_out_channels=16, num_cls_fcs=1, num_reg_fcs=0,
            reg_class_agnostic=True, norm_cfg=None, bbox_coder=dict(type='BucketingBBoxCoder', num_buckets=14,
                                                                    scale_factor=1.7))
    elif kind == 'mask':
        config['type'] = 'MaskRCNN'
        roi.update(mask_roi_extractor=_extractor(STRIDES, 6),
                   mask_head=dict(type='FCNMaskHead', num_convs=1, in_channels=16, conv_out_channels=8, num_classes=3,
                                  loss_mask=dict(type='CrossEntropyLoss', use_mask=True)))
    elif kind == 'cascade':
        config['type'] = 'CascadeRCNN'
        config['roi_head'] = dict(
            type='CascadeRoIHead', num_stages=2, stage_loss_weights=[1, .5], bbox_roi_extractor=_extractor(STRIDES),
            bbox_head=[_head(reg_class_agnostic=True), _head((.05, .05, .1, .1), reg_class_agnostic=True)])
    elif kind == 'c4':
        config['backbone'].update(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))
        config['neck'] = None
        config['rpn_head'] = _rpn([16], 32)
        roi.update(shared_head=dict(type='TinySharedHead', channels=32), bbox_roi_extractor=_extractor([16], 3, 32),
                   bbox_head=_head(in_channels=32))
    return config


@DETECTORS.register_module()
class TinySharedHead(BaseModule):
    """A convolution in place of ResNet's last stage."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = torch.nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


@pytest.fixture(autouse=True)
def mmdet_scope(mmseg_scope):
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='session')
def detector():
    """Build a tiny detector; batch norms are given random statistics, and heads weights that tell boxes apart."""
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    built = {}

    def build(kind: str):
        if kind in built:
            return built[kind]
        with DefaultScope.overwrite_default_scope('mmdet'):
            torch.manual_seed(0)
            model = DETECTORS.build(Config(detector_config(kind)))
        generator = torch.Generator().manual_seed(1)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, .1, generator=generator)
                module.running_var.uniform_(.6, 1.4, generator=generator)
        roi_head = model.roi_head
        for head in roi_head.bbox_head if hasattr(roi_head.bbox_head, '__iter__') else [roi_head.bbox_head]:
            for layer, std in ((getattr(head, 'fc_cls', None), .3), (getattr(head, 'fc_reg', None), .05)):
                if isinstance(layer, torch.nn.Linear):
                    torch.nn.init.normal_(layer.weight, std=std, generator=generator)
                    torch.nn.init.zeros_(layer.bias)
        built[kind] = model.eval()
        return model
    return build


@pytest.fixture(scope='session')
def scenes():
    """Two images of 64 x 96 and one of 80 x 64 with five boxes."""
    generator = np.random.default_rng(0)
    images = []
    for height, width in ((64, 96), (64, 96), (80, 64)):
        image = generator.integers(60, 120, (height, width, 3), dtype=np.uint8)
        # not one colour: equal values in a max pool leave it to roundings where the gradient goes
        image[20:50, 25:60] = image[20:50, 25:60] // 2 + np.array([150, 0, 0], np.uint8)
        images.append(image)
    boxes = [np.array([[25, 20, 60, 50], [5, 5, 25, 30]], np.float32), np.array([[20, 15, 80, 60]], np.float32),
             np.array([[25, 20, 60, 50], [30, 40, 60, 78]], np.float32)]
    return dict(images=images, boxes=boxes, labels=[np.array([0, 1]), np.array([2]), np.array([1, 0])],
                ids=[np.array([11, 12]), np.array([21]), np.array([31, 32])], image_ids=['a', 'b', 'c'])
