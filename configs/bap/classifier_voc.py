# BANA, stages 1 and 2, on PASCAL VOC 2012 train_aug: VGG-16 with background-aware pooling, then Y_crf and Y_ret.
# Learning rate and schedule are those of the published code, ten times the paper's 1e-4 (docs/methods/bana.md).
_base_ = ['../_base_/voc12_boxes.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.voc_data}}]
work_dir = 'work_dirs/voc/bap/classifier'
max_iters = 8000

# ---- stage 1
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.VGG16', fc_dilation=1, dropout_ratio=.5,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://vgg16_caffe')),
    head=dict(
        type='wsss_mm.BAPHead', num_classes=20, in_channels=1024, grid_size=4, roi_size=(2, 2), align_mode='official',
        min_bg_fraction=.125))
train_dataloader = dict(
    batch_size=20, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.5, contrast=.5, saturation=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=.9, weight_decay=5e-4),
    paramwise_cfg=dict(bias_lr_mult=2., bias_decay_mult=0., custom_keys={'head': dict(lr_mult=10.)}))
param_scheduler = [dict(type='MultiStepLR', milestones=[5000], gamma=.1, by_epoch=False)]
auto_scale_lr = dict(enable=False, base_batch_size=20)

# ---- stage 2: one scale, no flip, the image's own size
pseudo_labels = dict(
    out_dir='work_dirs/voc/bap/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.box_pipeline}}),
    generator=dict(
        type='wsss_mm.BANALabels', grid_size=1, rel_threshold=.99,
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3, gaussian_weight=3,
            gaussian_xy=3, iterations=10)))
