# FickleNet on toy VOC: a 5 x 5 kernel that drops hidden units, and the largest value of 50 random selections. For a map of
# 24 x 24 cells instead of 41 x 41; published: 9 x 9, 200 passes of one scale. With the maximum, the labels' threshold
# takes the place of the paper's theta (.35); .25 is near the best measured here, and the curve shows them all.
_base_ = '../cam/classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/ficklenet/classifier'
model = dict(head=dict(type='wsss_mm.StochasticHead', kernel_size=5, drop_prob=.9, rescale='none'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/ficklenet/labels',
    generator=dict(
        threshold=.25,
        localizer=dict(localizer=dict(type='wsss_mm.StochasticCAM', passes=50, aggregate='max'), scales=(1., ))))
