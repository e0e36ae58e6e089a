# Cues from CAM's saved class maps, toy VOC; background where all maps are low, which needs no network.
_base_ = '../_base_/toy_voc_tags.py'
data_root = {{_base_.data_root}}
default_scope = 'mmseg'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/cam/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/cues',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(
        type='wsss_mm.SeedCues', map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels/maps',
        foreground=.5, conflicts='smaller', background=dict(kind='maps', below=.1)))
