# VWE on toy VOC: HSPP, and visual words as further labels.
_base_ = '../cam/classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/vwe/classifier'
model = dict(
    head=dict(type='wsss_mm.HSPPHead', gamma=2., bins=(1, 2, 4)),
    objectives=[dict(type='wsss_mm.VisualWords', num_classes=6, in_channels=96, num_words=64)])
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/vwe/labels',
    generator=dict(threshold=.2, localizer=dict(flip_fusion='max')))
