# PSA on PASCAL VOC 2012 train_aug: AffinityNet (ResNet-38) learns from the sure areas which neighbours belong together;
# CAM's class maps walk by it. The published code's recipe, from ImageNet's weights: the classifier is a ResNet-50 here.
# Published for a ResNet-38 classifier: 47.7 mIoU of the class maps on train, 61.0 after the walk.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/psa/confident_cam_voc.py')]
work_dir = 'work_dirs/voc/psa/cam/affinity'
max_iters = 10576   # 8 epochs of 1,322

# ---- affinities
model = dict(
    type='wsss_mm.AffinityNet', num_classes=20, stride=8, radius=5, distance='mean', loss='official',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ResNet38d', dropout=(.3, .5), out_indices=(0, 1, 3),
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/resnet_38d.params')),
    branches=[
        dict(in_index=0, in_channels=512, channels=64), dict(in_index=1, in_channels=1024, channels=128),
        dict(in_index=2, in_channels=4096, channels=256)])
train_dataloader = dict(
    batch_size=8, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        box_dir=None, label_dirs=dict(seg_map='work_dirs/voc/psa/cam/confident/labels'),
        labels_made_by='configs/psa/confident_cam_voc.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadConfidentScores'),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3, hue=.1, random_order=True),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=448, placement='random', label_pad=0,
                 image_pad={{_base_.image_pad}}),
            dict(type='wsss_mm.PoolConfidentScores', stride=8),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
# No momentum: the argument of that name is the power of the schedule in the published code.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=.1, momentum=0., weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'branches': dict(lr_mult=10.), 'embedding': dict(lr_mult=10.)}))
# mmengine counts the points of a schedule, one more than its steps
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters + 1)]
auto_scale_lr = dict(enable=False, base_batch_size=8)

# ---- labels: the class maps after the walk
pseudo_labels = dict(
    out_dir='work_dirs/voc/psa/cam/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.PSALabels', map_dir='work_dirs/voc/cam/labels/maps', beta=8, steps=256, alpha=16))
