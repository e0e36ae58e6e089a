# Gated pyramid pooling (ECCV 2022) on PASCAL VOC 2012 train_aug: the published run of AEFT with the image-level loss
# alone. Paper: 54.2 mIoU of the class maps on train.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.voc_data}}]
work_dir = 'work_dirs/voc/gpp/classifier'
max_iters = 31056     # 18 epochs of 1,322 and 22 of 330, which is how long the published run is
poly_iters = 52880    # 40 epochs of 1,322, for which its schedule is made: it ends at 45 % of the learning rate

# ---- classifier
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ResNet38d', dropout=(.2, .2),
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/resnet_38d.params')),
    neck=dict(type='wsss_mm.EmbeddingNeck', in_channels=4096, channels=256),
    head=dict(type='wsss_mm.GPPHead', num_classes=20, in_channels=256, bins=(2, 4, 8, 16), aggregate='gated'))
train_dataloader = dict(
    batch_size=8, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='wsss_mm.RandomLongSide', low=256, high=512),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.4, contrast=.4, saturation=.4, hue=.1, prob=.8,
                 random_order=True),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=320, placement='random',
                 image_pad={{_base_.image_pad}}),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
# One learning rate for old and new layers, and the weight decay where SGD takes the momentum, as in the published code.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=.01, momentum=5e-4, weight_decay=5e-4))
# mmengine counts the points of a schedule, one more than its steps
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=poly_iters + 1)]
auto_scale_lr = dict(enable=False, base_batch_size=8)

# ---- labels: dense CRF on the class maps and (1 - their maximum)^9, as published for the figures with CRF
pseudo_labels = dict(
    out_dir='work_dirs/voc/gpp/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.ClassMapLabels', background='power', alpha=9.,
        localizer=dict(
            type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(.5, 1., 1.5, 2.), flip=True,
            flip_fusion='sum', relu='after', align16=False),
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=10, bilateral_xy=80, bilateral_rgb=13, gaussian_weight=3,
            gaussian_xy=3, iterations=10)))
