# PSA on toy VOC, first step: sure areas from AdvCAM's saved class maps.
_base_ = './confident_cam_toy.py'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/advcam/labels_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/advcam/confident',
    generator=dict(map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/labels/maps'))
