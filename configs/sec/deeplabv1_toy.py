# SEC on toy VOC: a segmentor from cues, image tags and a CRF. For maps of 24 x 24 the decays of rank pooling are those
# of VOC's 41 x 41 by the number of positions, and the CRF's widths those of toy images by the stride.
_base_ = ['../_base_/toy_voc_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
cues = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/cues'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/sec/cues_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/deeplabv1'
max_iters = 500

model = dict(
    type='wsss_mm.SeededSegmentor',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=4,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_tags/final.pth', prefix='backbone.')),
    decode_head=dict(type='wsss_mm.LargeFOVHead', in_channels=96, in_index=-1, num_classes=7, classifier='dot'),
    seed_losses=[dict(
        type='wsss_mm.SECLoss', decays=(.988, 0., .997),
        crf=dict(
            type='wsss_mm.BatchCRF', bilateral_weight=2, bilateral_xy=4, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=.5, iterations=10, kernel='exact'))],
    test_cfg=dict(mode='whole', scales=(1., ), flip=False))
train_dataloader = dict(
    batch_size=16, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt',
        label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/sec/cues_toy.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='wsss_mm.MarkValid'),   # what a crop pads is not "no cue"
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_dataloader = {{_base_.segmentation_val}}
test_dataloader = {{_base_.segmentation_val}}
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=.3)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=100, end=max_iters)]

# ---- predictions as label maps, for the report
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/deeplabv1/predictions',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(type='wsss_mm.SegmentorLabels'))

# ---- table and HTML page after the last stage; the papers' figures are for PASCAL VOC
report = dict(
    title='SEC on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/deeplabv1/report',
    needs=[dict(run='labels')],
    data_root=data_root, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir=None, classes='toy',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    rows=[
        dict(name='CAM', labels=world + '/cam/labels/labels', maps=world + '/cam/labels/maps', curve=True),
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab-V1', labels=world + '/sec/deeplabv1/predictions/labels', paper=dict(val=50.7))],
    paper_source='SEC (ECCV 2016), PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'SeedCues', 'the highest and the lowest of the maps'),
        ('segmentor', 'DeepLab-V1', 'seed, expand, constrain')],
    protocol={
        'training seed': '0', 'toy world': '{{$TOY_WORLD:0}}', 'test of DeepLab-V1': 'one scale, no flip, no CRF',
        'cues': 'scored where they are: pixels without a cue are left out'},
    gallery=dict(
        row='DeepLab-V1', split='val', worst=6, best=6, maps=world + '/cam/labels/maps', labels=cues + '/labels',
        prediction=world + '/sec/deeplabv1/predictions/labels'))
