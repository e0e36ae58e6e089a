# What W-OoD's saved class maps say surely, PASCAL VOC 2012, for IRN.
# W-OoD's thresholds, of its published code.
_base_ = './confident_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/wood/classifier_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/wood/confident',
    generator=dict(
        map_dir='work_dirs/voc/wood/labels/maps',
        foreground=.3, background=.15))
