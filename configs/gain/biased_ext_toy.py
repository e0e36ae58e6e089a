# GAIN_ext on toy VOC's profile `biased`: masks of 92 random images of all classes, as the paper draws them. About 23
# of these show boats and 23 trains; a quarter of every batch is drawn from the 92.
_base_ = './biased_plain_toy.py'
crop_size = {{_base_.crop_size}}
work_dir = 'work_dirs/toy_biased{{$TOY_WORLD:0}}/gain_ext'
model = dict(objectives=[
    dict(type='wsss_mm.AttentionMining', omega=10., sigma=.5, begin=100),
    dict(type='wsss_mm.AttentionSupervision', mask_weight=10., reduction='mean', begin=100)])
train_dataloader = dict(
    sampler=dict(_delete_=True, type='wsss_mm.MixedSupervisionSampler', batch_size=16, extra_per_batch=4),
    dataset=dict(
        mask_count=92,
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
