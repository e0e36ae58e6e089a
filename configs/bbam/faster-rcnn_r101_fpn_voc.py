# BBAM, stages 1 and 2, on PASCAL VOC 2012: a Faster R-CNN trained on the boxes of train_aug, and the maps that explain
# them. Figures are those of the published code: batch 16, learning rate .01, 18,000 iterations, steps at 12,000 and
# 16,000, weight decay 1e-4, short side 480 to 800, test at 800. The rest, as the L1 losses of boxes, is mmdet's usual.
_base_ = ['../_base_/faster_rcnn_fpn.py', '../_base_/voc12_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.voc_data}}, {{_base_.voc_instances}}]
work_dir = 'work_dirs/voc/bbam/faster_rcnn'
max_iters = 18000

# ---- stage 1
model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron/resnet101_caffe')),
    roi_head=dict(bbox_head=dict(num_classes=20)))
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomResize', scale=[(1333, 480), (1333, 800)], keep_ratio=True),
            dict(type='RandomFlip', prob=.5),
            dict(type='PackDetInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.01, momentum=.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=max_iters, milestones=[12000, 16000], gamma=.1)]
auto_scale_lr = dict(enable=False, base_batch_size=16)

# ---- stage 2; the published settings are the explainer's defaults
pseudo_labels = dict(
    out_dir='work_dirs/voc/bbam/maps',
    num_workers=4, batch_size=4,   # images of one size go together, so that passes of max_batch (8) objects are full
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.ExplainBoxes',
        explainer=dict(type='wsss_mm.BBAMExplainer', preset='official', scale=(1333, 800))))
