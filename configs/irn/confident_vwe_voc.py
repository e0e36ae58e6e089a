# What VWE's saved class maps say surely, PASCAL VOC 2012, for IRN.
# IRN's own thresholds, as the paper says that it used IRN.
_base_ = './confident_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/vwe/classifier_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/vwe/confident',
    generator=dict(
        map_dir='work_dirs/voc/vwe/labels/maps',
        foreground=.30, background=.05))
