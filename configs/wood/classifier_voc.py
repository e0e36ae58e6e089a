# W-OoD (CVPR 2022) on PASCAL VOC 2012 train_aug, as the published code: five more epochs of CAM's classifier, with 16
# out-of-distribution images beside the 16 of each batch. Paper: 53.3 mIoU of the class maps on train, CAM 49.5.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.voc_data}}, dict(run='train', config='configs/cam/classifier_voc.py')]
work_dir = 'work_dirs/voc/wood/classifier'
load_from = 'work_dirs/voc/cam/classifier/final.pth'
max_iters = 3305   # 5 epochs of 661
augmentation = [
    dict(type='wsss_mm.RandomLongSide', low=320, high=640),
    dict(type='RandomFlip', prob=.5),
    dict(type='wsss_mm.RandomCropWithBoxes', crop_size=512, placement='random', image_pad={{_base_.image_pad}}),
    dict(type='wsss_mm.PackWeakInputs')]

# ---- classifier; ignore_classes: OoD images in which a bottle scores highest do not count, as published
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(type='wsss_mm.ResNetCAM', depth=50, frozen_stages=2),
    head=dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=2048),
    objectives=[
        dict(
            type='wsss_mm.OutOfDistribution', num_classes=20, in_channels=2048, clusters=50, ratio=.2,
            metric_weight=.007, ood_weight=.25, climb_step=.07, ignore_classes=[4], selection='batch')])
# before the first iteration: centres of the classes, from whole images, and of OoD images with a long side of 500
custom_hooks = [
    dict(type='wsss_mm.StageHook'),
    dict(type='wsss_mm.OoDCentresHook', batch_size=8, num_workers=8)]
# data/ood/hard.txt: image ids, one a line, of images in data/ood/images without any of the classes. Published: 5,190 of
# OpenImages; docs/ood.md says how to collect one's own.
train_dataloader = dict(
    batch_size=16, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WithOoDImages',
        dataset=dict(
            type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
            pipeline=[
                dict(type='wsss_mm.LoadImage'),
                dict(type='wsss_mm.LoadWeakLabels', boxes=False),
                *augmentation]),
        ood=dict(
            type='wsss_mm.OoDImages', data_root='data/ood', ann_file='hard.txt', data_prefix=dict(img_path='images'),
            pipeline=[dict(type='wsss_mm.LoadImage'), *augmentation])))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
# The published code passes the weight decay where SGD takes the momentum: 1e-4, not the .9 that it names.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=.1, momentum=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.)}))
# mmengine counts the points of a schedule, one more than its steps
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters + 1)]
auto_scale_lr = dict(enable=False, base_batch_size=16)

# ---- labels, as CAM's
pseudo_labels = dict(
    out_dir='work_dirs/voc/wood/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.ClassMapLabels', threshold=.12,   # the published sweep is .08 to .14
        localizer=dict(
            type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5, 1.5, 2.), flip=True,
            flip_fusion='sum')))
