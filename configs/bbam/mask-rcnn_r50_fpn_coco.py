# BBAM, stage 4, on COCO 2017: a Mask R-CNN trained on the masks that the explanations gave. The sources do not give its
# settings; those here are the Faster R-CNN's.
_base_ = ['../_base_/faster_rcnn_fpn.py', '../_base_/coco17_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.coco_data}}, dict(run='labels', config='configs/bbam/masks_coco.py')]
work_dir = 'work_dirs/coco/bbam/mask_rcnn'
max_iters = 180000

model = dict(
    type='MaskRCNN',
    data_preprocessor={{_base_.data_preprocessor}},
    roi_head=dict(
        mask_roi_extractor=dict(
            type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=2),
            out_channels=256, featmap_strides=[4, 8, 16, 32]),
        mask_head=dict(
            type='wsss_mm.IgnoreFCNMaskHead', grow='neighbour', grow_threshold=.9, balanced=True, num_convs=4,
            in_channels=256, conv_out_channels=256, num_classes=80,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.))),
    train_cfg=dict(rcnn=dict(mask_size=28)),
    test_cfg=dict(rcnn=dict(mask_thr_binary=.5)))
train_dataloader = dict(
    dataset=dict(
        ann_file='work_dirs/coco/bbam/masks/instances.json', labels_made_by='configs/bbam/masks_coco.py',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='wsss_mm.LoadInstanceLabels'),
            dict(type='Resize', scale=(1333, 800), keep_ratio=True),
            dict(type='RandomFlip', prob=.5),
            dict(type='PackDetInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.01, momentum=.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=max_iters, milestones=[120000, 160000], gamma=.1)]
auto_scale_lr = dict(enable=False, base_batch_size=8)
