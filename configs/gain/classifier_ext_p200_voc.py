# GAIN_ext with the masks of 200 images beside the tags: L_p.
_base_ = './classifier_voc.py'
work_dir = 'work_dirs/voc/gain_ext_p200/classifier'
model = dict(objectives=[
    dict(type='wsss_mm.AttentionMining', omega=10., sigma=.5, score='sigmoid', begin=661),
    dict(type='wsss_mm.AttentionSupervision', mask_weight=10., reduction='mean', begin=661)])
# a quarter of every batch are images with extra supervision
train_dataloader = dict(
    sampler=dict(_delete_=True, type='wsss_mm.MixedSupervisionSampler', batch_size=16, extra_per_batch=4),
    dataset=dict(
        mask_count=200, extra_ann_file='ImageSets/Segmentation/train.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.RandomLongSide', low=256, high=512),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size=321, placement='random'),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(out_dir='work_dirs/voc/gain_ext_p200/labels')
