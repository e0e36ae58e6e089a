# GAIN (TPAMI 2020) on PASCAL VOC 2012 train_aug: VGG-16 with attention mining. The paper leaves open: crop, momentum,
# omega and sigma of the mask, warm-up.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.voc_data}}]
work_dir = 'work_dirs/voc/gain/classifier'
max_iters = 23135   # 35 epochs of 661

# ---- classifier
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor=dict(   # Caffe's VGG-16: BGR, mean subtracted, no division
        type='wsss_mm.WeakSegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1., 1., 1.], bgr_to_rgb=False,
        pad_val=0, seg_pad_val=255),
    backbone=dict(
        type='wsss_mm.VGG16', fc_dilation=1, dropout_ratio=.5,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://vgg16_caffe')),
    head=dict(type='wsss_mm.GAPHead', num_classes=20, in_channels=1024),
    objectives=[dict(type='wsss_mm.AttentionMining', omega=10., sigma=.5, score='sigmoid', begin=661)])
train_dataloader = dict(
    batch_size=16, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='wsss_mm.RandomLongSide', low=256, high=512),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=321, placement='random'),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
# The paper's 1e-5 is for batches of 1: 16 times that; ten times as much for the layers that start at random.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=1.6e-4, momentum=.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={
        'backbone.fc6': dict(lr_mult=10.), 'backbone.fc7': dict(lr_mult=10.), 'head': dict(lr_mult=10.)}))
param_scheduler = []
auto_scale_lr = dict(enable=False, base_batch_size=16)

# ---- labels: the paper's cues, attention above a fifth of its maximum, one scale
pseudo_labels = dict(
    out_dir='work_dirs/voc/gain/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.ClassMapLabels', threshold=.2, localizer=dict(type='wsss_mm.GradCAM')))
