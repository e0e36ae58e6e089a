# A box as the prior of a dense CRF: what BBAM does with an object that has no attribution map. Toy VOC.
_base_ = ['../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.toy_data}}, {{_base_.toy_instances}}]
crf = dict(   # as in configs/bbam/masks_toy.py
    type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1, gaussian_xy=2,
    iterations=10)
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/instances_crf',
    num_workers=2,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.BoxCRFInstances',
        ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/boxes_train.json',
        crf=crf))
