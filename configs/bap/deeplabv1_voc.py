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
