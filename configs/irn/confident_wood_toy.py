# What W-OoD's saved class maps say surely, toy VOC, for IRN. Thresholds of the toy.
_base_ = './confident_cam_toy.py'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/wood/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/confident',
    generator=dict(
        map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels/maps',
        foreground=.35, background=.1))
