# DeepLab-V2 (ResNet-101) on CAM's labels of COCO 2014. Crop 481 is the dissertation's of Lee (RIB); the length of the
# training is in no paper at hand.
_base_ = ['../_base_/coco14_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
labels = 'work_dirs/coco/cam/labels'
prerequisites = [{{_base_.coco_data}}, dict(run='labels', config='configs/cam/classifier_coco.py')]
work_dir = 'work_dirs/coco/cam/deeplabv2'
max_iters = 100000

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
        type='wsss_mm.DeepLabV2Head', in_channels=2048, in_index=0, num_classes=81, rates=(6, 12, 18, 24), form='sum',
        classifier='dot', loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)),
    test_cfg=dict(
        mode='whole', scales=(.5, .75, 1., 1.5), flip=True,
        crf=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=67, bilateral_rgb=3, gaussian_weight=3,
            gaussian_xy=1, iterations=10)))
train_dataloader = dict(
    batch_size=10, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakCOCODataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt', tag_file=None,
        label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/cam/classifier_coco.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=481),
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
