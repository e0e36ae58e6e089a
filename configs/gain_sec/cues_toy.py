# Cues from GAIN's saved attention maps, toy VOC.
_base_ = '../sec/cues_toy.py'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/gain/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_sec/cues',
    generator=dict(map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain/labels/maps'))
