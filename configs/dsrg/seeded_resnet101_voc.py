# DSRG, step 1, with ResNet-101: DeepLab-V2's own head.
_base_ = './seeded_voc.py'
work_dir = 'work_dirs/voc/dsrg_resnet101/seeded'
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675]),
    backbone=dict(
        _delete_=True, type='ResNet', depth=101, style='caffe', out_indices=(3, ), strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4), contract_dilation=False, norm_eval=True, norm_cfg=dict(type='BN', requires_grad=False),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet101_caffe')),
    decode_head=dict(
        _delete_=True, type='wsss_mm.DeepLabV2Head', in_channels=2048, in_index=0, num_classes=21,
        rates=(6, 12, 18, 24), form='sum', classifier='dot'))
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, custom_keys={'decode_head': dict(lr_mult=10.)}))
pseudo_labels = dict(out_dir='work_dirs/voc/dsrg_resnet101/labels')
