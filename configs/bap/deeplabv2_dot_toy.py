# Variant: dot-product classifier instead of the cosine one (supplement, Table 5).
_base_ = './deeplabv2_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv2_dot'
model = dict(decode_head=dict(classifier='dot'))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
