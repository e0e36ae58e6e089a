# BANA, "VOC-to-COCO": labels of COCO 2017 from the classifier trained on VOC, which never saw COCO. Background attention
# alone tells objects from background; classes are those of the boxes.
_base_ = './classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/coco/bap_voc2coco/labels',
    dataset=dict(
        _delete_=True, type='wsss_mm.CocoBoxDataset', data_root='data/coco', data_prefix=dict(img_path='train2017'),
        ann_file='annotations/instances_train2017.json', test_mode=True, pipeline={{_base_.box_pipeline}}),
    generator=dict(class_agnostic=True))
