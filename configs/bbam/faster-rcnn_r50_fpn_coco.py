# BBAM, stages 1 and 2, on COCO 2017: a Faster R-CNN trained on boxes, and the maps that explain them. Figures are those
# of the published code: batch 8, learning rate .01, 180,000 iterations, steps at 120,000 and 160,000. The short side of
# 800 in training is ours.
_base_ = ['../_base_/faster_rcnn_fpn.py', '../_base_/coco17_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.coco_data}}]
work_dir = 'work_dirs/coco/bbam/faster_rcnn'
max_iters = 180000

# ---- stage 1
model = dict(data_preprocessor={{_base_.data_preprocessor}})
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(1333, 800), keep_ratio=True),
            dict(type='RandomFlip', prob=.5),
            dict(type='PackDetInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.01, momentum=.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=max_iters, milestones=[120000, 160000], gamma=.1)]
auto_scale_lr = dict(enable=False, base_batch_size=8)

# ---- stage 2; the published settings are the explainer's defaults
pseudo_labels = dict(
    out_dir='work_dirs/coco/bbam/maps',
    num_workers=4, batch_size=4,   # images of one size go together, so that passes of max_batch (8) objects are full
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.ExplainBoxes',
        explainer=dict(type='wsss_mm.BBAMExplainer', preset='official', scale=(1333, 800))))
