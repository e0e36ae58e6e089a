# PSA on PASCAL VOC 2012, first step: sure areas from RIB's saved class maps.
_base_ = './confident_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/rib/labels_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/psa/rib/confident',
    generator=dict(map_dir='work_dirs/voc/rib/labels/maps'))
