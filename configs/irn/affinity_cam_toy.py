# IRN on toy VOC, second stage: IRNet learns class boundaries and displacements from the confident areas of CAM; then
# the walk on CAM's maps makes the labels. The network is the toy's at stride 2, since objects are small; the maps are still
# small, so the radius is 5 and the steps are few. Steps and threshold were chosen on world 100; published are 256 and .25.
_base_ = ['../_base_/toy_voc_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
crop_size = {{_base_.crop_size}}
confident = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/confident'
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py'),
    dict(run='labels', config='configs/irn/confident_cam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/affinity'
max_iters = 1000

# ---- boundary and displacement
model = dict(
    type='wsss_mm.IRNet', num_classes=6, radius=5, pairs='all', channels=64, groups=8,
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=2, out_indices=(0, 1, 2),
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_tags/final.pth', prefix='backbone.')),
    levels=[
        dict(in_index=0, in_channels=64, stride=2, displacement_channels=32, displacement_groups=4),
        dict(in_index=1, in_channels=96, stride=2, displacement_channels=64, displacement_groups=8),
        dict(in_index=2, in_channels=96, stride=2, displacement_channels=64, displacement_groups=8)])
train_dataloader = dict(
    batch_size=8, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt', box_dir=None,
        label_dirs=dict(seg_map=confident + '/labels'), labels_made_by='configs/irn/confident_cam_toy.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=60, end=max_iters)]
custom_hooks = [
    dict(type='wsss_mm.StageHook'),
    dict(
        type='wsss_mm.DisplacementMeanHook', crop_size=crop_size, batch_size=16,
        dataset=dict(
            type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt',
            box_dir=None, test_mode=True,
            pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')]))]

# ---- labels: the walk on the class maps
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/labels',
    num_workers=1,
    batch_size=8,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(
        type='wsss_mm.IRNLabels', map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels/maps',
        beta=10., steps=16, radius=5, power=1., threshold=.2, pad_to=0, divisor=4, save_boundaries=True))
