# DSRG (CVPR 2018), step 1, on PASCAL VOC 2012: DeepLab-V2 on VGG-16 learns from seeds that grow as it learns. Its
# labels of train_aug are what step 2 (deeplabv2_voc.py) learns from. Images are squashed to 321 x 321, as published.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
cues = 'work_dirs/voc/dsrg/cues'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/dsrg/cues_voc.py')]
work_dir = 'work_dirs/voc/dsrg/seeded'
max_iters = 8000

model = dict(
    type='wsss_mm.SeededSegmentor',
    data_preprocessor=dict(   # Caffe's VGG-16: BGR, mean subtracted, no division
        type='wsss_mm.WeakSegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1., 1., 1.], bgr_to_rgb=False,
        pad_val=0, seg_pad_val=255),
    backbone=dict(
        type='wsss_mm.VGG16', fully_connected=False, pools=True,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://vgg16_caffe')),
    decode_head=dict(
        type='wsss_mm.ASPPBranchHead', in_channels=512, channels=1024, num_classes=21, rates=(6, 12, 18, 24),
        dropout_ratio=.5),
    seed_losses=[dict(
        type='wsss_mm.DSRGLoss', foreground_threshold=.85, background_threshold=.99, grow_on='crf',
        unary='probability', crf_gradient='diagonal', ratio=(.05, 20.),
        crf=dict(   # 41 x 41; positions divided by 12, colours not
            type='wsss_mm.BatchCRF', bilateral_weight=10, bilateral_xy=80 / 12, bilateral_rgb=13, gaussian_weight=3,
            gaussian_xy=3 / 12, iterations=10, kernel='lattice', classes='all', num_workers=8))],
    test_cfg=dict(
        mode='whole', size=(321, 321), scales=(.75, 1., 1.25), fusion='sum',   # 240, 321, 401
        crf=dict(type='wsss_mm.DenseCRF', preset='dsrg')))
train_dataloader = dict(
    batch_size=20, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/dsrg/cues_voc.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='Resize', scale=(321, 321), keep_ratio=False),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_dataloader = {{_base_.segmentation_val}}
test_dataloader = {{_base_.segmentation_val}}
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
# fc8 at ten times the rate; its biases, as all others, at twice their layer's and without decay
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=5e-4, momentum=.9, weight_decay=5e-4),
    paramwise_cfg=dict(bias_lr_mult=2., bias_decay_mult=0., custom_keys={
        'decode_head.fc8': dict(lr_mult=10.),
        'decode_head.fc8.0.bias': dict(lr_mult=20., decay_mult=0.),
        'decode_head.fc8.1.bias': dict(lr_mult=20., decay_mult=0.),
        'decode_head.fc8.2.bias': dict(lr_mult=20., decay_mult=0.),
        'decode_head.fc8.3.bias': dict(lr_mult=20., decay_mult=0.)}))
param_scheduler = [dict(type='StepLR', by_epoch=False, step_size=1000, gamma=.33)]
auto_scale_lr = dict(enable=False, base_batch_size=20)

# ---- labels of train_aug for step 2; present_only=True keeps to the image's tags, which the published run does not
pseudo_labels = dict(
    out_dir='work_dirs/voc/dsrg/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.SegmentorLabels', present_only=False, refiner=dict(type='wsss_mm.DenseCRF', preset='dsrg')))
