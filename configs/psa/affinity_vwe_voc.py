# PSA on PASCAL VOC 2012 train_aug, VWE's class maps. The paper has IRN alone.
_base_ = './affinity_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/psa/confident_vwe_voc.py')]
work_dir = 'work_dirs/voc/psa/vwe/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map='work_dirs/voc/psa/vwe/confident/labels'),
    labels_made_by='configs/psa/confident_vwe_voc.py'))
pseudo_labels = dict(
    out_dir='work_dirs/voc/psa/vwe/labels',
    generator=dict(map_dir='work_dirs/voc/vwe/labels/maps'))
