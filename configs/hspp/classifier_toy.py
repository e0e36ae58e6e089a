# HSPP on toy VOC: hybrid spatial pyramid pooling instead of global average pooling.
_base_ = '../cam/classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/hspp/classifier'
model = dict(head=dict(type='wsss_mm.HSPPHead', gamma=2., bins=(1, 2, 4)))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/hspp/labels',
    generator=dict(threshold=.15, localizer=dict(flip_fusion='max')))
