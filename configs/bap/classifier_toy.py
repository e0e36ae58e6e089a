# BANA, stages 1 and 2, on toy VOC: classifier with background-aware pooling, then Y_crf and Y_ret.
_base_ = ['../_base_/toy_voc.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
crop_size = {{_base_.crop_size}}
prerequisites = [{{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/classifier'
max_iters = 350

# ---- stage 1
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=4,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_{{$TOY_PROFILE:boxes}}/final.pth', prefix='backbone.')),
    head=dict(type='wsss_mm.BAPHead', num_classes=6, in_channels=96, grid_size=4, roi_size=(2, 2)))
train_dataloader = dict(
    batch_size=16, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size, min_visible=2),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=.3)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=70),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=70, end=max_iters)]

# ---- stage 2; thresholds and CRF weights were chosen on world 100, which no score is taken from
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/labels',
    num_workers=2,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.box_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(
        type='wsss_mm.BANALabels', rel_threshold=.98, save_maps=True,
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=2, iterations=10)))
