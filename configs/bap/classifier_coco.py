# BANA on COCO 2017 ("COCO-to-COCO"), stages 1 and 2: VGG-16 with background-aware pooling on COCO's boxes, then Y_crf and
# Y_ret. The paper names neither schedule nor CRF for COCO: here as many epochs as on VOC, and VOC's CRF.
_base_ = ['../_base_/coco17_boxes.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.coco_data}}]
work_dir = 'work_dirs/coco/bap/classifier'
max_iters = 88650   # 15.1 epochs of 117,266 images

# ---- stage 1
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='wsss_mm.VGG16', fc_dilation=1, dropout_ratio=.5,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://vgg16_caffe')),
    head=dict(
        type='wsss_mm.BAPHead', num_classes=80, in_channels=1024, grid_size=4, roi_size=(2, 2), align_mode='official',
        min_bg_fraction=.125))
train_dataloader = dict(
    batch_size=20, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.CocoBoxDataset', data_root=data_root, ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img_path='train2017'), filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.5, contrast=.5, saturation=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=.9, weight_decay=5e-4),
    paramwise_cfg=dict(bias_lr_mult=2., bias_decay_mult=0., custom_keys={'head': dict(lr_mult=10.)}))
param_scheduler = [dict(type='MultiStepLR', milestones=[55400], gamma=.1, by_epoch=False)]   # after 9.45 epochs
auto_scale_lr = dict(enable=False, base_batch_size=20)

# ---- stage 2: one scale, no flip, the image's own size
pseudo_labels = dict(
    out_dir='work_dirs/coco/bap/labels',
    num_workers=8,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.BANALabels', grid_size=1, rel_threshold=.99,
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3, gaussian_weight=3,
            gaussian_xy=3, iterations=10)))
