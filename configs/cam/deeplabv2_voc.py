# DeepLab-V2 (ResNet-101) on CAM's labels with plain cross-entropy, PASCAL VOC 2012. The papers refine the labels first
# (IRN, random walk), so their figures for segmentors are of other labels.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
labels = 'work_dirs/voc/cam/labels'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/cam/classifier_voc.py')]
work_dir = 'work_dirs/voc/cam/deeplabv2'
max_iters = 20000

model = dict(
    type='wsss_mm.MultiScaleSegmentor',
    data_preprocessor=dict(   # that of the weights below
        type='wsss_mm.WeakSegDataPreProcessor', mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False,
        pad_val=0, seg_pad_val=255),
    backbone=dict(
        type='ResNet', depth=101, style='caffe', out_indices=(3, ), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4),
        contract_dilation=False, norm_eval=True, norm_cfg=dict(type='BN', requires_grad=False),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet101_caffe')),
    decode_head=dict(
        type='wsss_mm.DeepLabV2Head', in_channels=2048, in_index=0, num_classes=21, rates=(6, 12, 18, 24), form='sum',
        classifier='dot', loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)),
    test_cfg=dict(
        mode='whole', scales=(.5, .75, 1., 1.5), flip=True,
        crf=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=67, bilateral_rgb=3, gaussian_weight=3,
            gaussian_xy=1, iterations=10)))
train_dataloader = dict(
    batch_size=10, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        box_dir=None, label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/cam/classifier_voc.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=321),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_dataloader = {{_base_.segmentation_val}}
test_dataloader = {{_base_.segmentation_val}}
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=2.5e-4, momentum=.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'decode_head': dict(lr_mult=10.)}))
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters)]
auto_scale_lr = dict(enable=False, base_batch_size=10)

# ---- predictions on val as label maps, for the report; the CRF of the test, in worker processes
pseudo_labels = dict(
    out_dir=work_dir + '/predictions',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/val.txt', box_dir=None,
        test_mode=True, pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')]),
    generator=dict(
        type='wsss_mm.SegmentorLabels',
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=67, bilateral_rgb=3, gaussian_weight=3,
            gaussian_xy=1, iterations=10)))

# ---- table and HTML page after the last stage
report = dict(
    title='CAM on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    data_root=data_root, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir=None, classes='voc',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    paper_source='IRN (CVPR 2019) as VWE (IJCAI 2021) quotes it, Table 2',
    rows=[
        dict(name='class maps', labels=labels + '/labels', paper=dict(train=48.3)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'ResNet-50, global average pooling'),
        ('localization', 'CAM', 'four scales and flips'),
        ('pseudo labels', 'ClassMapLabels', 'constant background .15'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    protocol={'training seed': '0', 'test of the segmentor': 'scales .5, .75, 1, 1.5 with flips, then dense CRF'},
    gallery=[
        dict(row='class maps', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
