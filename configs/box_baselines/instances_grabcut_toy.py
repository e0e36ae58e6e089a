# GrabCut in each box, with a tenth of its sides around it as the background. Toy VOC.
_base_ = ['../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.toy_data}}, {{_base_.toy_instances}}]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/instances_grabcut',
    num_workers=2,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.GrabCutInstances', iterations=5, min_share=.05, context=.1,
        ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/boxes_train.json'))
