# PSA on toy VOC: AffinityNet learns from the sure areas which neighbours belong together; CAM's class maps walk by it,
# 64 steps on 24 x 24 maps. Steps and power were chosen on world 100; published are 256 and 16.
_base_ = ['../_base_/toy_voc_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
crop_size = {{_base_.crop_size}}
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py'),
    dict(run='labels', config='configs/psa/confident_cam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/affinity'
max_iters = 300

# ---- affinities
model = dict(
    type='wsss_mm.AffinityNet', num_classes=6, stride=4, radius=5, distance='mean', loss='official',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=4, out_indices=(0, 1, 2),
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_tags/final.pth', prefix='backbone.')),
    branches=[
        dict(in_index=0, in_channels=64, channels=16), dict(in_index=1, in_channels=96, channels=32),
        dict(in_index=2, in_channels=96, channels=64)])
train_dataloader = dict(
    batch_size=16, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt', box_dir=None,
        label_dirs=dict(seg_map='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/confident/labels'),
        labels_made_by='configs/psa/confident_cam_toy.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadConfidentScores'),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size, label_pad=0),
            dict(type='wsss_mm.PoolConfidentScores', stride=4),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=.3)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=60, end=max_iters)]

# ---- labels: the class maps after the walk
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/labels',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(
        type='wsss_mm.PSALabels', map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels/maps', beta=8,
        steps=64, alpha=8))
