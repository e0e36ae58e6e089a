# DeepLab-V2 on CAM's labels, toy VOC: the last stage of the chain from image tags to a segmentor.
_base_ = ['../_base_/toy_voc_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
crop_size = {{_base_.crop_size}}
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/cam/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/deeplabv2'
max_iters = 500

model = dict(
    type='wsss_mm.MultiScaleSegmentor',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=4,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_tags/final.pth', prefix='backbone.')),
    decode_head=dict(
        type='wsss_mm.DeepLabV2Head', in_channels=96, in_index=-1, channels=64, num_classes=7, rates=(1, 3, 6, 9),
        form='features', classifier='dot',
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)),
    test_cfg=dict(mode='whole', scales=(1., ), flip=False))
train_dataloader = dict(
    batch_size=16, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt', box_dir=None,
        label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/cam/classifier_toy.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size),
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
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/deeplabv2/predictions',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(type='wsss_mm.SegmentorLabels'))

# ---- table and HTML page after the last stage; the papers' figures are for PASCAL VOC
report = dict(
    title='CAM on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/deeplabv2/report',
    needs=[dict(run='labels', config='configs/cam/labels_auto_toy.py'), dict(run='labels')],
    data_root=data_root, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir=None, classes='toy',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    rows=[
        dict(name='CAM', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=48.3, val=47.0)),
        dict(name='CAM, threshold without truth, CRF', labels=labels + '_auto/labels'),
        dict(name='DeepLab-V2', labels=world + '/cam/deeplabv2/predictions/labels')],
    paper_source='CAM of a ResNet-50 on PASCAL VOC 2012, as quoted in VWE (IJCAI 2021), Table 1',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    protocol={
        'training seed': '0', 'toy world': '{{$TOY_WORLD:0}}', 'test of DeepLab-V2': 'one scale, no flip, no CRF'},
    gallery=dict(
        row='DeepLab-V2', split='val', worst=6, best=6, maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/cam/deeplabv2/predictions/labels'))
