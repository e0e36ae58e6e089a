# CAM on toy VOC: a classifier with global average pooling learns from image tags; its class maps become labels.
_base_ = ['../_base_/toy_voc_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
crop_size = {{_base_.crop_size}}
prerequisites = [{{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/classifier'
max_iters = 700

# ---- classifier
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=4,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_tags/final.pth', prefix='backbone.')),
    head=dict(type='wsss_mm.GAPHead', num_classes=6, in_channels=96))
train_dataloader = dict(
    batch_size=16, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=.3)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=140),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=140, end=max_iters)]

# ---- labels: class maps of the tagged classes above a constant background; a round figure near the best threshold of
# benchmarks/results/toy_image_tags.md, as in the other methods' toy configs, so scores of segmentors on them flatter
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(
        type='wsss_mm.ClassMapLabels', threshold=.25,
        localizer=dict(
            type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5, 1.5, 2.), flip=True,
            align16=False)))
