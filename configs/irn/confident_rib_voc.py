# What RIB's saved class maps say surely, PASCAL VOC 2012, for IRN.
# RIB's thresholds, of its published code.
_base_ = './confident_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/rib/labels_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/rib/confident',
    generator=dict(
        map_dir='work_dirs/voc/rib/labels/maps',
        foreground=.35, background=.17))
