# AEFT on toy VOC: GPP, and adversarial erasing by a triplet in the second phase of one training.
_base_ = '../gpp/classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/classifier'
model = dict(objectives=[dict(type='wsss_mm.ErasingTriplet', begin=315, min_hard=.125)])
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/labels')
