# BBAM, stage 3, on COCO 2017: masks with ignored pixels from the maps of the objects, and label maps of them.
_base_ = ['../_base_/coco17_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.coco_data}}, dict(run='labels', config='configs/bbam/faster-rcnn_r50_fpn_coco.py')]
pseudo_labels = dict(
    out_dir='work_dirs/coco/bbam/masks',
    num_workers=8,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.ObjectMapLabels', map_dir='work_dirs/coco/bbam/maps/objects',
        ann_file='data/coco/annotations/instances_train2017.json',
        builder=dict(type='wsss_mm.MaskBuilder', preset='official')))
