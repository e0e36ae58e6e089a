# The middle of a box, four fifths of its sides, is the object; the ring around it is ignored.
# PASCAL VOC 2012 train_aug.
_base_ = ['../_base_/voc12_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.voc_data}}, {{_base_.voc_instances}}]
pseudo_labels = dict(
    out_dir='work_dirs/voc/box_baselines/instances_inner',
    num_workers=8,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.BoxInstances', rule='inner', shape='box', share=.8,
        ann_file='data/VOCdevkit/VOC2012/annotations/boxes_trainaug.json'))
