# Labels from AEFT's saved class maps with the dense CRF (its Table 4, second row). Threshold and CRF were chosen on world
# 100; the paper's background is the power (1 - max)^9, as in configs/aeft/classifier_voc.py.
_base_ = '../cam/labels_auto_toy.py'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/aeft/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/labels_crf',
    generator=dict(threshold=.1, map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/labels/maps'))
