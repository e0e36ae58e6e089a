# FickleNet (CVPR 2019) on PASCAL VOC 2012 train_aug: VGG-16 at stride 8, a 9 x 9 kernel that drops hidden units, class maps
# of 200 random selections. The paper's text was not at hand: p, passes, theta, crop, batch and schedule are unconfirmed,
# and the length of the training is not known at all.
_base_ = ['../_base_/voc12_tags.py', '../_base_/default_runtime.py']
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.voc_data}}]
work_dir = 'work_dirs/voc/ficklenet/classifier'
epoch = 1058   # iterations, 10,582 images in batches of 10
max_iters = 30 * epoch

# ---- classifier
model = dict(
    type='wsss_mm.CAMClassifier',
    data_preprocessor=dict(   # Caffe's VGG-16: BGR, mean subtracted, no division
        type='wsss_mm.WeakSegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1., 1., 1.], bgr_to_rgb=False,
        pad_val=0, seg_pad_val=255),
    backbone=dict(   # to block 5 at stride 8: 512 x 41 x 41
        type='wsss_mm.VGG16', fully_connected=False,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://vgg16_caffe')),
    head=dict(
        type='wsss_mm.StochasticHead', num_classes=20, in_channels=512, kernel_size=9, drop_prob=.9, rescale='none'))
train_dataloader = dict(
    batch_size=10, num_workers=8, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=321, placement='random'),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[10 * epoch, 20 * epoch], gamma=.5)]
auto_scale_lr = dict(enable=False, base_batch_size=10)

# ---- labels: above theta in any pass, of several classes the one of the largest mean. The maps are (1 + mean) / 2 there
# and 0 elsewhere, so any threshold below .5 gives these labels; .25 keeps their size in enlarging. The paper ignores the
# pixels of no class and takes background from saliency; here they are background.
pseudo_labels = dict(
    out_dir='work_dirs/voc/ficklenet/labels',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.ClassMapLabels', threshold=.25,
        localizer=dict(
            type='wsss_mm.MultiScale',
            localizer=dict(type='wsss_mm.StochasticCAM', passes=200, aggregate='paper', theta=.35),
            scales=(1., ), flip=False, normalize='none', align16=False)))
