# Variant: average pooling instead of BAP: no attention, and labels without u_0: the background's class map in its place.
_base_ = './classifier_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap_gap/classifier'
model = dict(head=dict(attention=False))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap_gap/labels', generator=dict(background='class_map'))
