# Masks of Grad-CAM's maps, made as BBAM's masks are, on toy VOC.
_base_ = '../bbam/masks_toy.py'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}},
    dict(run='labels', config='configs/box_baselines/maps_gradcam_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/instances_gradcam',
    generator=dict(map_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/maps_gradcam/objects'))
