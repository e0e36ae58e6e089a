# BBAM, stage 3, on toy VOC: masks with ignored pixels from the maps of the objects, and label maps of them.
_base_ = ['../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='labels', config='configs/bbam/faster-rcnn_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/masks',
    num_workers=2,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.ObjectMapLabels',
        map_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/maps/objects',
        ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/boxes_train.json',
        builder=dict(type='wsss_mm.MaskBuilder', preset='official')))
