# Variant: labels of the classifier with average pooling (supplement, Table 3).
_base_ = './deeplabv1_voc.py'
labels = 'work_dirs/voc/bap_gap/labels'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/bap/classifier_gap_voc.py')]
work_dir = 'work_dirs/voc/bap_gap/deeplabv1'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/Y_crf', seg_map_ret=labels + '/Y_ret'),
    labels_made_by='configs/bap/classifier_gap_voc.py'))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
