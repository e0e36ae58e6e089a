# Labels from W-OoD's saved class maps above a constant background, with the dense CRF. The threshold is as much below the
# classifier's own as CAM's is.
_base_ = '../cam/labels_auto_toy.py'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/wood/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels_crf',
    generator=dict(threshold=.1, map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels/maps'))
