# What AEFT's saved class maps say surely, PASCAL VOC 2012, for IRN.
# IRN's own thresholds: AEFT's paper refines with AffinityNet and gives none for IRN.
_base_ = './confident_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/aeft/classifier_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/aeft/confident',
    generator=dict(
        map_dir='work_dirs/voc/aeft/labels/maps',
        foreground=.30, background=.05))
