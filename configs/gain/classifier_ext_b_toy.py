# GAIN_ext with the boxes of 56 images beside the tags, and GrabCut in them as the foreground prior.
_base_ = './classifier_toy.py'
crop_size = {{_base_.crop_size}}
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py'),
    dict(run='labels', config='configs/gain/prior_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_b/classifier'
model = dict(objectives=[
    dict(type='wsss_mm.AttentionMining', omega=10., sigma=.5, begin=175),
    dict(type='wsss_mm.AttentionSupervision', mask_weight=10., box_weight=10., begin=175)])
train_dataloader = dict(
    sampler=dict(_delete_=True, type='wsss_mm.MixedSupervisionSampler', batch_size=16, extra_per_batch=4),
    dataset=dict(
        box_count=56, prior_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_b/prior/labels',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.LoadPrior', kind='labels'),
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=crop_size),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_b/labels')
