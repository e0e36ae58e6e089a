# GPP on toy VOC: gated pyramid pooling instead of global average pooling.
_base_ = '../cam/classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gpp/classifier'
model = dict(head=dict(type='wsss_mm.GPPHead', bins=(2, 4, 8, 16), aggregate='gated'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gpp/labels',
    generator=dict(threshold=.15, localizer=dict(relu='after')))
