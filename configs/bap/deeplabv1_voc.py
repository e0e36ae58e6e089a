# BANA, stage 3, on PASCAL VOC 2012: DeepLab-V1 (VGG-16 LargeFOV) on Y_crf and Y_ret with the noise-aware loss.
# Paper: 68.1 mIoU on val after multi-scale test and CRF (Table 4).
_base_ = ['../_base_/voc12_boxes.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
labels = 'work_dirs/voc/bap/labels'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/bap/classifier_voc.py')]
work_dir = 'work_dirs/voc/bap/deeplabv1'
max_iters = 23805

model = dict(
    type='wsss_mm.MultiScaleSegmentor',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.VGG16', fc_dilation=12, dropout_ratio=.5,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://vgg16_caffe')),
    decode_head=dict(
        type='wsss_mm.LargeFOVHead', in_channels=1024, num_classes=21, classifier='cosine', scale=20.,
        loss_decode=dict(type='wsss_mm.NoiseAwareLoss', gamma=7., lambda_=.1)),
    test_cfg=dict(
        mode='whole', scales=(.5, .75, 1., 1.5), flip=True,
        crf=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=121, bilateral_rgb=5, gaussian_weight=3,
            gaussian_xy=3, iterations=10)))
train_dataloader = dict(
    batch_size=20, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        box_dir=None, label_dirs=dict(seg_map=labels + '/Y_crf', seg_map_ret=labels + '/Y_ret'),
        labels_made_by='configs/bap/classifier_voc.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', 'gt_seg_map_ret')),
            dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.5, contrast=.5, saturation=.5),
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
    paramwise_cfg=dict(bias_lr_mult=2., bias_decay_mult=0., custom_keys={'decode_head': dict(lr_mult=10.)}))
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters)]
auto_scale_lr = dict(enable=False, base_batch_size=20)

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
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=121, bilateral_rgb=5, gaussian_weight=3,
            gaussian_xy=3, iterations=10)))

# ---- table and HTML page after the last stage
report = dict(
    title='BANA on PASCAL VOC 2012: boxes in, DeepLab-V1 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    data_root=data_root, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir='Annotations', classes='voc',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    paper_source='BANA (CVPR 2021), Tables 1 and 4',
    rows=[
        dict(name='Y_crf', labels=labels + '/Y_crf', paper=dict(train=78.7, val=79.2)),
        dict(name='Y_ret', labels=labels + '/Y_ret', paper=dict(train=70.8, val=69.9)),
        dict(name='DeepLab-V1 + NAL', labels=work_dir + '/predictions/labels', paper=dict(val=68.1))],
    stations=[
        ('weak labels', 'boxes', 'no mask is seen in training'),
        ('classifier', 'BAPHead', 'background-aware pooling'),
        ('localization', 'u_0, u_c', 'background attention, class maps'),
        ('refinement', 'DenseCRF', 'Potts, 10 iterations'),
        ('pseudo labels', 'Y_crf, Y_ret', 'differ where unreliable'),
        ('segmentor', 'DeepLab-V1', 'noise-aware loss')],
    protocol={'training seed': '0', 'test of the segmentor': 'scales .5, .75, 1, 1.5 with flips, then dense CRF'},
    gallery=[
        dict(row='Y_crf', split='train', worst=6, best=6, y_crf=labels + '/Y_crf', y_ret=labels + '/Y_ret'),
        dict(row='DeepLab-V1 + NAL', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
