# SEC (ECCV 2016) on PASCAL VOC 2012: DeepLab-V1 (VGG-16 LargeFOV) from cues, image tags and a CRF.
# Images are squashed to 321 x 321 in training and test, as published. Its fc6 and fc7 start from ImageNet (DeepLab's
# vgg16_20M); the checkpoint below has the convolutions alone, and they start at random.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
cues = 'work_dirs/voc/sec/cues'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/sec/cues_voc.py')]
work_dir = 'work_dirs/voc/sec/deeplabv1'
max_iters = 8000

model = dict(
    type='wsss_mm.SeededSegmentor',
    data_preprocessor=dict(   # Caffe's VGG-16: BGR, mean subtracted, no division
        type='wsss_mm.WeakSegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1., 1., 1.], bgr_to_rgb=False,
        pad_val=0, seg_pad_val=255),
    backbone=dict(
        type='wsss_mm.VGG16', fc_dilation=12, dropout_ratio=.5,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://vgg16_caffe')),
    decode_head=dict(   # fc8: one 1x1 convolution with a bias
        type='FCNHead', in_channels=1024, channels=1024, num_classes=21, num_convs=0, concat_input=False,
        dropout_ratio=0., align_corners=True),
    seed_losses=[dict(
        type='wsss_mm.SECLoss', seed_weight=1., expand_weight=1., constrain_weight=1., decays=(.996, 0., .999),
        crf=dict(   # 41 x 41; positions divided by 12, colours not
            type='wsss_mm.BatchCRF', bilateral_weight=10, bilateral_xy=80 / 12, bilateral_rgb=13, gaussian_weight=3,
            gaussian_xy=3 / 12, iterations=10, kernel='lattice', classes='all', num_workers=8))],
    test_cfg=dict(mode='whole', size=(321, 321), scales=(1., ), crf=dict(type='wsss_mm.DenseCRF', preset='sec')))
train_dataloader = dict(
    batch_size=15, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/sec/cues_voc.py',
        pipeline=[   # no flip, as published
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='Resize', scale=(321, 321), keep_ratio=False),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_dataloader = {{_base_.segmentation_val}}
test_dataloader = {{_base_.segmentation_val}}
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=.9, weight_decay=5e-4),
    paramwise_cfg=dict(bias_lr_mult=2., bias_decay_mult=0., custom_keys={
        'decode_head.conv_seg.weight': dict(lr_mult=10.),
        'decode_head.conv_seg.bias': dict(lr_mult=20., decay_mult=0.)}))
param_scheduler = [dict(type='StepLR', by_epoch=False, step_size=2000, gamma=.1)]
auto_scale_lr = dict(enable=False, base_batch_size=15)

# ---- predictions on val as label maps, for the report; the CRF of the test, in worker processes
pseudo_labels = dict(
    out_dir=work_dir + '/predictions',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/val.txt', box_dir=None,
        test_mode=True, pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')]),
    generator=dict(type='wsss_mm.SegmentorLabels', refiner=dict(type='wsss_mm.DenseCRF', preset='sec')))

# ---- table and HTML page after the last stage
report = dict(
    title='SEC on PASCAL VOC 2012: tags in, DeepLab-V1 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    data_root=data_root, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir=None, classes='voc',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    paper_source='SEC (ECCV 2016)',
    rows=[
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab-V1', labels=work_dir + '/predictions/labels', paper=dict(val=50.7))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'ResNet-50, global average pooling'),
        ('localization', 'CAM', 'one scale; background from gradients'),
        ('pseudo labels', 'SeedCues', 'above .2 of the maximum; a tenth background'),
        ('segmentor', 'DeepLab-V1', 'seed, expand, constrain')],
    protocol={'training seed': '0', 'test of the segmentor': '321 x 321, then dense CRF',
              'cues': 'scored where they are: pixels without a cue are left out'},
    gallery=[
        dict(row='cues', split='train', worst=6, best=6, maps=cues + '/maps', labels=cues + '/labels'),
        dict(row='DeepLab-V1', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
