# Variant: labels of the BAP classifier with the background's class map in the place of u_0 (paper, Table 1, "w/o u_0").
_base_ = './classifier_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/labels_without_u0', generator=dict(background='class_map'))
