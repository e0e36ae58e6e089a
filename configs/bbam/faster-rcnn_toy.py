# BBAM, stages 1 and 2, on toy VOC: a Faster R-CNN trained on boxes, and the maps that explain its training boxes.
_base_ = ['../_base_/toy_faster_rcnn.py', '../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='train', config='configs/pretrain/textures_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/faster_rcnn'
max_iters = 1200

# ---- stage 1
model = dict(data_preprocessor={{_base_.data_preprocessor}})
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=1e-3),
    paramwise_cfg=dict(custom_keys={'shared_fcs': dict(lr_mult=.3)}), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=100, end=max_iters)]

# ---- stage 2; strides: the published 16 and 48 px for images of 800 px, scaled to 96. Fewer steps and proposals than
# the published 300 and 100 for the CPU's sake; the total variation (published: 1e-4) was chosen on world 100
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/maps',
    num_workers=1, batch_size=16,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.ExplainBoxes',
        explainer=dict(
            type='wsss_mm.BBAMExplainer', scale=None, stride=(1.92, 5.76), iterations=100, max_positives=30, tv=1e-2,
            max_batch=32)))
