# GAIN on toy VOC: the classifier must see nothing of a class where its own attention to it is masked.
_base_ = '../cam/classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain/classifier'
model = dict(objectives=[dict(type='wsss_mm.AttentionMining', omega=10., sigma=.5, begin=175)])
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain/labels', generator=dict(threshold=.25))
