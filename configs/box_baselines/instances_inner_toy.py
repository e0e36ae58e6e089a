# The middle of a box, four fifths of its sides, is the object; the ring around it is ignored. Toy VOC.
_base_ = ['../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.toy_data}}, {{_base_.toy_instances}}]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/instances_inner',
    num_workers=2,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.BoxInstances', rule='inner', shape='box', share=.8,
        ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/boxes_train.json'))
