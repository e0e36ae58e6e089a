# Masks of SimpleGrad's maps, made as BBAM's masks are, on PASCAL VOC 2012.
_base_ = '../bbam/masks_voc.py'
prerequisites = [
    {{_base_.voc_data}}, {{_base_.voc_instances}},
    dict(run='labels', config='configs/box_baselines/maps_simplegrad_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/box_baselines/instances_simplegrad',
    generator=dict(map_dir='work_dirs/voc/box_baselines/maps_simplegrad/objects'))
