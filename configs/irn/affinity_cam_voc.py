# IRN on PASCAL VOC 2012 train_aug, second stage: IRNet learns class boundaries and displacements from the confident
# areas of CAM; then the walk on CAM's maps makes the labels. All numbers are those of the published code.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
confident = 'work_dirs/voc/irn/cam/confident'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/irn/confident_cam_voc.py')]
work_dir = 'work_dirs/voc/irn/cam/affinity'
max_iters = 990   # 3 epochs of 330

# ---- boundary and displacement; the backbone is ImageNet's, not the classifier's, and frozen
model = dict(
    type='wsss_mm.IRNet', num_classes=20, radius=10, pairs='inner', channels=256, groups=16,
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ResNetWithStem', depth=50, out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-19c8e357.pth')),
    levels=[   # the stem, then the four stages
        dict(in_index=0, in_channels=64, stride=4, boundary_channels=32, boundary_groups=4, displacement_channels=64,
             displacement_groups=8),
        dict(in_index=1, in_channels=256, stride=4, boundary_channels=32, boundary_groups=4, displacement_channels=128,
             displacement_groups=16),
        dict(in_index=2, in_channels=512, stride=8, boundary_channels=32, boundary_groups=4, displacement_channels=256,
             displacement_groups=16),
        dict(in_index=3, in_channels=1024, stride=16, boundary_channels=32, boundary_groups=4,
             displacement_channels=256, displacement_groups=16),
        dict(in_index=4, in_channels=2048, stride=16, boundary_channels=32, boundary_groups=4,
             displacement_channels=256, displacement_groups=16)])
train_dataloader = dict(
    batch_size=32, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        box_dir=None, label_dirs=dict(seg_map=confident + '/labels'),
        labels_made_by='configs/irn/confident_cam_voc.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),   # bilinear; published: bicubic
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=512, placement='random',
                 image_pad={{_base_.image_pad}}),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
# The published code passes the weight decay where SGD takes the momentum: 1e-4, not the .9 that it names.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=.1, momentum=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'displacement': dict(lr_mult=10.)}))
# mmengine counts the points of a schedule, one more than its steps
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters + 1)]
auto_scale_lr = dict(enable=False, base_batch_size=32)
custom_hooks = [
    dict(type='wsss_mm.StageHook'),
    dict(
        type='wsss_mm.DisplacementMeanHook', crop_size=512, batch_size=32, num_workers=8,
        dataset=dict(
            type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
            box_dir=None, test_mode=True,
            pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')]))]

# ---- labels: the walk on the class maps
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/cam/labels',
    num_workers=8,
    batch_size=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.IRNLabels', map_dir='work_dirs/voc/cam/labels/maps', beta=10., steps=256, radius=5, power=1.,
        threshold=.25, pad_to=512, divisor=16))
