# Labels from CAM's saved class maps above a constant background, with the dense CRF. Threshold and CRF were chosen on
# world 100.
_base_ = './labels_auto_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels_crf', generator=dict(threshold=.15))
