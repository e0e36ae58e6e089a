# BANA, stage 3, on toy VOC: DeepLab-V2 trained on Y_crf and Y_ret with the noise-aware loss.
_base_ = ['../_base_/toy_voc.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
crop_size = {{_base_.crop_size}}
world = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/bap/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv2'
max_iters = 500

model = dict(
    type='wsss_mm.MultiScaleSegmentor',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=4,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_{{$TOY_PROFILE:boxes}}/final.pth', prefix='backbone.')),
    decode_head=dict(
        type='wsss_mm.DeepLabV2Head', in_channels=96, in_index=-1, channels=64, num_classes=7, rates=(1, 3, 6, 9),
        form='features', classifier='cosine', scale=20.,
        loss_decode=dict(type='wsss_mm.NoiseAwareLoss', gamma=7., lambda_=.1)),
    test_cfg=dict(mode='whole', scales=(1., ), flip=False))
train_dataloader = dict(
    batch_size=16, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt', box_dir=None,
        label_dirs=dict(seg_map=labels + '/Y_crf', seg_map_ret=labels + '/Y_ret'),
        labels_made_by='configs/bap/classifier_toy.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', 'gt_seg_map_ret')),
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
    out_dir=world + '/bap/deeplabv2/predictions',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.box_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(type='wsss_mm.SegmentorLabels'))

# ---- table and HTML page after the last stage; the paper's figures are for PASCAL VOC
report = dict(
    title='BANA on toy VOC: boxes in, a trained segmentor out',
    out_dir=world + '/bap/deeplabv2/report',
    needs=[
        dict(run='labels', config='configs/box_baselines/box_fill_toy.py'),
        dict(run='labels', config='configs/box_baselines/grabcut_toy.py'),
        dict(run='labels')],
    data_root=data_root, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir='Annotations', classes='toy',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    rows=[
        dict(name='box fill', labels=world + '/box_baselines/box_fill/labels', paper=dict(train=65.4, val=62.2)),
        dict(name='GrabCut', labels=world + '/box_baselines/grabcut/labels', paper=dict(train=65.7, val=66.1)),
        dict(name='Y_crf', labels=labels + '/Y_crf', maps=labels + '/maps', paper=dict(train=78.7, val=79.2)),
        dict(name='Y_ret', labels=labels + '/Y_ret', paper=dict(train=70.8, val=69.9)),
        dict(name='DeepLab-V2 + NAL', labels=world + '/bap/deeplabv2/predictions/labels', paper=dict(val=74.6))],
    paper_source='BANA (CVPR 2021), Tables 1 and 5, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'boxes', 'no mask is seen in training'),
        ('classifier', 'BAPHead', 'background-aware pooling'),
        ('localization', 'u_0, u_c', 'background attention, class maps'),
        ('refinement', 'DenseCRF', 'Potts, 10 iterations'),
        ('pseudo labels', 'Y_crf, Y_ret', 'differ where unreliable'),
        ('segmentor', 'DeepLab-V2', 'noise-aware loss')],
    protocol={
        'training seed': '0', 'toy world': '{{$TOY_WORLD:0}}', 'test of DeepLab-V2': 'one scale, no flip, no CRF'},
    gallery=dict(
        row='DeepLab-V2 + NAL', split='val', worst=6, best=6, maps=labels + '/maps', y_crf=labels + '/Y_crf',
        y_ret=labels + '/Y_ret', prediction=world + '/bap/deeplabv2/predictions/labels'))
