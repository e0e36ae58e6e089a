# Variant: mmseg's ResNet-50 at output stride 8 as the trunk. Not in the paper.
_base_ = './classifier_voc.py'
work_dir = 'work_dirs/voc/bap_resnet50/classifier'
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True, type='ResNet', depth=50, out_indices=(3, ), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4),
        contract_dilation=True, norm_eval=True, norm_cfg=dict(type='BN', requires_grad=False),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    head=dict(in_channels=2048))
pseudo_labels = dict(out_dir='work_dirs/voc/bap_resnet50/labels')
