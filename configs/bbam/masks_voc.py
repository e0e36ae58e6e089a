# BBAM, stage 3, on PASCAL VOC 2012: masks with ignored pixels from the maps of the objects, and label maps of them.
_base_ = ['../_base_/voc12_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [
    {{_base_.voc_data}}, {{_base_.voc_instances}},
    dict(run='labels', config='configs/bbam/faster-rcnn_r101_fpn_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/bbam/masks',
    num_workers=8,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.ObjectMapLabels', map_dir='work_dirs/voc/bbam/maps/objects',
        ann_file='data/VOCdevkit/VOC2012/annotations/boxes_trainaug.json',
        builder=dict(type='wsss_mm.MaskBuilder', preset='official')))
