# Mixed supervision on PASCAL VOC 2012 train_aug: 200 images of train carry masks, its other 1,264 boxes, the 9,118 of
# SBD tags alone. BAP's network and schedule (configs/bap), which nobody has tried on such a mixture.
_base_ = '../bap/classifier_voc.py'
work_dir = 'work_dirs/voc/mixed/classifier'
model = dict(
    head=dict(type='wsss_mm.MixedHead'),
    objectives=[
        dict(type='wsss_mm.AttentionSupervision', mask_weight=1., box_weight=0.),
        dict(
            type='wsss_mm.SegmentationBranch',
            decode_head=dict(
                type='wsss_mm.LargeFOVHead', in_channels=1024, in_index=-1, num_classes=21, classifier='dot',
                loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)))])
# a fifth of every batch are images with boxes or masks
train_dataloader = dict(
    sampler=dict(_delete_=True, type='wsss_mm.MixedSupervisionSampler', batch_size=20, extra_per_batch=4),
    dataset=dict(
        mask_count=200, box_count=1264, extra_ann_file='ImageSets/Segmentation/train.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.5, contrast=.5, saturation=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(
    out_dir='work_dirs/voc/mixed/labels',
    dataset=dict(
        mask_count=200, box_count=1264, extra_ann_file='ImageSets/Segmentation/train.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.PackWeakInputs')]),
    generator=dict(
        _delete_=True, type='wsss_mm.MixedLabels', boxes=dict(grid_size=1, rel_threshold=.99),
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3, gaussian_weight=3,
            gaussian_xy=3, iterations=10)))
