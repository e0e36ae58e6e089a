# DSRG, step 2, on PASCAL VOC 2012: the network of step 1 learns from its own predictions, with plain cross-entropy.
# Paper: 59.0 mIoU on val. Its labels are shrunk to the logits' size; here the logits are enlarged to the labels'.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
cues = 'work_dirs/voc/dsrg/cues'
labels = 'work_dirs/voc/dsrg/labels'
prerequisites = [
    {{_base_.voc_data}}, dict(run='train', config='configs/dsrg/seeded_voc.py'),
    dict(run='labels', config='configs/dsrg/seeded_voc.py')]
work_dir = 'work_dirs/voc/dsrg/deeplabv2'
load_from = 'work_dirs/voc/dsrg/seeded/final.pth'
max_iters = 20000

model = dict(
    type='wsss_mm.MultiScaleSegmentor',
    data_preprocessor=dict(   # Caffe's VGG-16: BGR, mean subtracted, no division
        type='wsss_mm.WeakSegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1., 1., 1.], bgr_to_rgb=False,
        pad_val=0, seg_pad_val=255),
    backbone=dict(type='wsss_mm.VGG16', fully_connected=False, pools=True),
    decode_head=dict(
        type='wsss_mm.ASPPBranchHead', in_channels=512, channels=1024, num_classes=21, rates=(6, 12, 18, 24),
        dropout_ratio=.5, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)),
    test_cfg=dict(
        mode='whole', scales=(.75, 1., 1.25), fusion='sum', crf=dict(type='wsss_mm.DenseCRF', preset='dsrg')))
train_dataloader = dict(
    batch_size=10, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        box_dir=None, label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/dsrg/seeded_voc.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
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
    type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=.9, weight_decay=5e-4),
    paramwise_cfg=dict(bias_lr_mult=2., bias_decay_mult=0., custom_keys={
        'decode_head.fc8': dict(lr_mult=10.),
        'decode_head.fc8.0.bias': dict(lr_mult=20., decay_mult=0.),
        'decode_head.fc8.1.bias': dict(lr_mult=20., decay_mult=0.),
        'decode_head.fc8.2.bias': dict(lr_mult=20., decay_mult=0.),
        'decode_head.fc8.3.bias': dict(lr_mult=20., decay_mult=0.)}))
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters)]
auto_scale_lr = dict(enable=False, base_batch_size=10)

# ---- predictions on val as label maps, for the report; the CRF of the test, in worker processes
pseudo_labels = dict(
    out_dir=work_dir + '/predictions',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/val.txt', box_dir=None,
        test_mode=True, pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')]),
    generator=dict(type='wsss_mm.SegmentorLabels', refiner=dict(type='wsss_mm.DenseCRF', preset='dsrg')))

# ---- table and HTML page after the last stage
report = dict(
    title='DSRG on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    data_root=data_root, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir=None, classes='voc',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    paper_source='DSRG (CVPR 2018)',
    rows=[
        dict(name='cues', labels=cues + '/labels'),
        dict(name='step 1, CRF', labels=labels + '/labels'),
        dict(name='DeepLab-V2, step 2', labels=work_dir + '/predictions/labels', paper=dict(val=59.0))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training; saliency maps'),
        ('classifier', 'GAPHead', 'ResNet-50, global average pooling'),
        ('localization', 'CAM', 'one scale'),
        ('pseudo labels', 'SeedCues', 'above .2 of the maximum; saliency below .06'),
        ('segmentor', 'DeepLab-V2', 'grown seeds, then its own predictions')],
    protocol={'training seed': '0', 'test of the segmentor': 'scales .75, 1, 1.25, then dense CRF',
              'cues': 'scored where they are: pixels without a cue are left out'},
    gallery=[
        dict(row='step 1, CRF', split='train', worst=6, best=6, maps=cues + '/maps', labels=labels + '/labels'),
        dict(row='DeepLab-V2, step 2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
