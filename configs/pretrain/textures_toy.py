# Pretraining on texture patches: stands where ImageNet weights stand in the VOC configs. One net for all toy worlds.
_base_ = '../_base_/default_runtime.py'
patches_root = 'data/toy_voc/patches_{{$TOY_PROFILE:boxes}}'
prerequisites = [dict(run='data', kind='patches', root=patches_root, profile='{{$TOY_PROFILE:boxes}}', seed=100)]
work_dir = 'work_dirs/pretrain/textures_{{$TOY_PROFILE:boxes}}'
max_iters = 500
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor=dict(
        type='wsss_mm.WeakSegDataPreProcessor', mean=[110., 110., 110.], std=[60., 60., 60.], bgr_to_rgb=True),
    backbone=dict(type='wsss_mm.ToyNet', output_stride=4),
    head=dict(type='wsss_mm.GAPHead', num_classes=22, in_channels=96))
train_dataloader = dict(
    batch_size=32, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.PatchDataset', ann_file=patches_root + '/patches.npz',
        pipeline=[dict(type='RandomFlip', prob=.5), dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=100, end=max_iters)]
