# GAIN on toy VOC's profile `biased`.
_base_ = './biased_plain_toy.py'
work_dir = 'work_dirs/toy_biased{{$TOY_WORLD:0}}/gain'
model = dict(objectives=[dict(type='wsss_mm.AttentionMining', omega=10., sigma=.5, begin=100)])
