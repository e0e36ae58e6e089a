# BBAM, stage 4, on toy VOC: a Mask R-CNN trained on the masks that the explanations gave.
_base_ = ['../_base_/toy_faster_rcnn.py', '../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='train', config='configs/pretrain/textures_toy.py'),
    dict(run='labels', config='configs/bbam/masks_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/mask_rcnn'
max_iters = 800

model = dict(
    type='MaskRCNN',
    data_preprocessor={{_base_.data_preprocessor}},
    roi_head=dict(
        mask_roi_extractor=dict(
            type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=1),
            out_channels=64, featmap_strides=[4, 8], finest_scale=24),
        mask_head=dict(
            type='wsss_mm.IgnoreFCNMaskHead', grow='neighbour', grow_threshold=.9, balanced=True, num_convs=2,
            in_channels=64, conv_out_channels=32, num_classes=6,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.))),
    train_cfg=dict(rcnn=dict(mask_size=28)),
    test_cfg=dict(rcnn=dict(mask_thr_binary=.5)))
train_dataloader = dict(dataset=dict(
    ann_file='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/masks/instances.json',
    labels_made_by='configs/bbam/masks_toy.py',
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='wsss_mm.LoadInstanceLabels'),
        dict(type='RandomFlip', prob=.5),
        dict(type='PhotoMetricDistortion', hue_delta=9, contrast_range=(.7, 1.3), saturation_range=(.7, 1.3)),
        dict(type='PackDetInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=1e-3),
    paramwise_cfg=dict(custom_keys={'shared_fcs': dict(lr_mult=.3)}), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=100, end=max_iters)]
