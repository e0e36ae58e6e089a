# BBAM, stage 4, on PASCAL VOC 2012: a Mask R-CNN trained on the masks that the explanations gave. Figures are those of
# the published code: batch 8, learning rate .008, 20,005 iterations, a step at 16,000, weight decay 1e-4, short side
# 416 to 512, long side at most 800, anchors of 21, 42, 84, 168 and 332 px.
_base_ = ['../_base_/faster_rcnn_fpn.py', '../_base_/voc12_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [
    {{_base_.voc_data}}, {{_base_.voc_instances}}, dict(run='labels', config='configs/bbam/masks_voc.py')]
work_dir = 'work_dirs/voc/bbam/mask_rcnn'
max_iters = 20005

model = dict(
    type='MaskRCNN',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron/resnet101_caffe')),
    rpn_head=dict(anchor_generator=dict(scales=[5.25])),   # 21 … 336 px
    roi_head=dict(
        bbox_head=dict(num_classes=20),
        mask_roi_extractor=dict(
            type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=2),
            out_channels=256, featmap_strides=[4, 8, 16, 32]),
        mask_head=dict(
            type='wsss_mm.IgnoreFCNMaskHead', grow='neighbour', grow_threshold=.9, balanced=True, num_convs=4,
            in_channels=256, conv_out_channels=256, num_classes=20,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.))),
    train_cfg=dict(rcnn=dict(mask_size=28)),
    test_cfg=dict(rcnn=dict(mask_thr_binary=.5)))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(800, 512), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        ann_file='work_dirs/voc/bbam/masks/instances.json', labels_made_by='configs/bbam/masks_voc.py',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='wsss_mm.LoadInstanceLabels'),
            dict(
                type='RandomChoiceResize', scales=[(800, s) for s in (416, 440, 464, 488, 512)], keep_ratio=True),
            dict(type='RandomFlip', prob=.5),
            dict(type='PackDetInputs')]))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.008, momentum=.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=max_iters, milestones=[16000], gamma=.1)]
auto_scale_lr = dict(enable=False, base_batch_size=8)
