# Mixed supervision on toy VOC: of 400 images 28 carry masks, 84 boxes, all others tags. One network learns from all of
# them, one run labels all of them. Profile `tags`, the one on which both tag and box methods work.
_base_ = '../cam/classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/mixed/classifier'
max_iters = 500

# ---- one network: tags, boxes and masks share the backbone and the classifier's weights
model = dict(
    head=dict(type='wsss_mm.MixedHead', grid_size=4, roi_size=(2, 2)),
    objectives=[
        dict(type='wsss_mm.AttentionSupervision', mask_weight=1., box_weight=0.),
        dict(
            type='wsss_mm.SegmentationBranch', loss_weight=1.,
            decode_head=dict(
                type='wsss_mm.DeepLabV2Head', in_channels=96, in_index=-1, channels=64, num_classes=7,
                rates=(1, 3, 6, 9), form='features', classifier='dot',
                loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)))])
# a quarter of every batch are images with boxes or masks
train_dataloader = dict(
    sampler=dict(_delete_=True, type='wsss_mm.MixedSupervisionSampler', batch_size=16, extra_per_batch=4),
    dataset=dict(
        mask_count=28, box_count=84,
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}, min_visible=2),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=100, end=max_iters)]

# ---- one labelling run; the CRF was chosen on world 100, which no score is taken from
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/mixed/labels',
    dataset=dict(
        ann_file='ImageSets/Segmentation/train.txt', mask_count=28, box_count=84,
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.PackWeakInputs')]),
    generator=dict(
        _delete_=True, type='wsss_mm.MixedLabels', boxes=dict(rel_threshold=.98),
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=2, iterations=10)))
