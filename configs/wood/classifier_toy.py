# W-OoD on toy VOC: CAM's classifier learns on beside scenes without objects, of which two thirds show water or rails.
_base_ = ['../_base_/toy_voc_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
crop_size = {{_base_.crop_size}}
prerequisites = [{{_base_.toy_data}}, dict(run='train', config='configs/cam/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/classifier'
load_from = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/classifier/final.pth'
max_iters = 350
augmentation = [
    dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
    dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size),
    dict(type='RandomFlip', prob=.5),
    dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
    dict(type='wsss_mm.PackWeakInputs')]

# ---- classifier; published: 50 clusters of 5,190 OoD images. Batch norms keep CAM's statistics, as the published network's
# do: by statistics of their own, batches of OoD images are told apart, and what is learnt of them does not reach the others.
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(type='wsss_mm.ToyNet', output_stride=4, norm_eval=True),
    head=dict(type='wsss_mm.GAPHead', num_classes=6, in_channels=96),
    objectives=[
        dict(
            type='wsss_mm.OutOfDistribution', num_classes=6, in_channels=96, clusters=10, ratio=.2, metric_weight=.007,
            ood_weight=.25, climb_step=.07)])
# before the first iteration: centres of the classes, and of the OoD images at their own size
custom_hooks = [
    dict(type='wsss_mm.StageHook'),
    dict(
        type='wsss_mm.OoDCentresHook', batch_size=16,
        ood_pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')])]
train_dataloader = dict(
    batch_size=16, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WithOoDImages',
        dataset=dict(
            type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt',
            pipeline=[
                dict(type='wsss_mm.LoadImage'),
                dict(type='wsss_mm.LoadWeakLabels', boxes=False),
                *augmentation]),
        ood=dict(
            type='wsss_mm.OoDImages', data_root=data_root, ann_file='ImageSets/Segmentation/ood.txt',
            data_prefix=dict(img_path='JPEGImages'), pipeline=[dict(type='wsss_mm.LoadImage'), *augmentation])))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
# half the length and a third of the rate of the training that it continues
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=.3)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=35),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=35, end=max_iters)]

# ---- labels, as CAM's
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(
        type='wsss_mm.ClassMapLabels', threshold=.15,
        localizer=dict(
            type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5, 1.5, 2.), flip=True,
            align16=False)))
