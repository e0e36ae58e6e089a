# PSA on PASCAL VOC 2012 train_aug, AdvCAM's class maps. Dissertation of J. Lee: 68.0 mIoU on train.
_base_ = './affinity_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/psa/confident_advcam_voc.py')]
work_dir = 'work_dirs/voc/psa/advcam/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map='work_dirs/voc/psa/advcam/confident/labels'),
    labels_made_by='configs/psa/confident_advcam_voc.py'))
pseudo_labels = dict(
    out_dir='work_dirs/voc/psa/advcam/labels',
    generator=dict(map_dir='work_dirs/voc/advcam/labels/maps'))
