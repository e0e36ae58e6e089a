# BANA's instances on toy VOC: masks of the boxes where Y_crf and Y_ret agree; where they do not, pixels are ignored.
_base_ = ['../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='labels', config='configs/bap/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/instances',
    num_workers=2,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.LabelPairInstances',
        ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/boxes_train.json',
        label_dirs=[
            'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/labels/Y_crf',
            'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/labels/Y_ret']))
