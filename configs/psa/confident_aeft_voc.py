# PSA on PASCAL VOC 2012, first step: sure areas from AEFT's saved class maps. Powers of AEFT's code.
_base_ = './confident_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/aeft/classifier_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/psa/aeft/confident',
    generator=dict(map_dir='work_dirs/voc/aeft/labels/maps', alpha_low=2, alpha_high=21))
