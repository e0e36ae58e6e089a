# The same of the labels that the classifier trained on VOC gives ("VOC-to-COCO").
_base_ = './instances_coco.py'
prerequisites = [{{_base_.coco_data}}, dict(run='labels', config='configs/bap/labels_voc2coco.py')]
pseudo_labels = dict(
    out_dir='work_dirs/coco/bap_voc2coco/instances',
    generator=dict(
        label_dirs=['work_dirs/coco/bap_voc2coco/labels/Y_crf', 'work_dirs/coco/bap_voc2coco/labels/Y_ret']))
