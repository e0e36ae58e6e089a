# BANA on COCO 2017: masks of the boxes where Y_crf and Y_ret agree; where they do not, pixels are ignored.
_base_ = ['../_base_/coco17_boxes.py', '../_base_/default_runtime.py']
prerequisites = [{{_base_.coco_data}}, dict(run='labels', config='configs/bap/classifier_coco.py')]
pseudo_labels = dict(
    out_dir='work_dirs/coco/bap/instances',
    num_workers=8,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.LabelPairInstances', ann_file={{_base_.box_file}},
        label_dirs=['work_dirs/coco/bap/labels/Y_crf', 'work_dirs/coco/bap/labels/Y_ret']))
