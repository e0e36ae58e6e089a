# FickleNet with a ResNet-101 at stride 8 in the place of VGG-16; otherwise as classifier_voc.py. Adam's rate is a tenth:
# 1e-3 is for a trunk without batch norm, and no paper at hand gives one for this.
_base_ = './classifier_voc.py'
work_dir = 'work_dirs/voc/ficklenet_resnet101/classifier'
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True, type='wsss_mm.ResNetCAM', depth=101, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4),
        frozen_stages=2,
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet101-63fe2227.pth')),
    head=dict(in_channels=2048))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
pseudo_labels = dict(out_dir='work_dirs/voc/ficklenet_resnet101/labels')
