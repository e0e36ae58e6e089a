# GrabCut in the boxes of toy VOC's profile `tags`: the foreground prior of L_bbox.
_base_ = '../_base_/toy_voc_tags.py'
data_root = {{_base_.data_root}}
default_scope = 'mmseg'
prerequisites = [{{_base_.toy_data}}]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_b/prior',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True,
        ann_file='ImageSets/Segmentation/train.txt',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadWeakLabels'),
            dict(type='wsss_mm.PackWeakInputs')]),
    generator=dict(type='wsss_mm.GrabCutLabels'))
