# What AdvCAM's saved class maps say surely, PASCAL VOC 2012, for IRN.
# AdvCAM's thresholds, of its published code.
_base_ = './confident_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/advcam/labels_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/advcam/confident',
    generator=dict(
        map_dir='work_dirs/voc/advcam/labels/maps',
        foreground=.35, background=.15))
