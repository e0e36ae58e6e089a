# Variant: labels of the BAP classifier with no map of the background inside boxes: class maps and CRF decide alone.
_base_ = './classifier_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/labels_zero', generator=dict(background='zero'))
