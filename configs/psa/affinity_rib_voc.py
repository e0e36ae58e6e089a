# PSA on PASCAL VOC 2012 train_aug, RIB's class maps. Paper: 68.6 mIoU on train.
_base_ = './affinity_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/psa/confident_rib_voc.py')]
work_dir = 'work_dirs/voc/psa/rib/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map='work_dirs/voc/psa/rib/confident/labels'),
    labels_made_by='configs/psa/confident_rib_voc.py'))
pseudo_labels = dict(
    out_dir='work_dirs/voc/psa/rib/labels',
    generator=dict(map_dir='work_dirs/voc/rib/labels/maps'))
