# Variant: labels of the average-pooling classifier with no map of the background inside boxes: class maps and CRF decide alone.
_base_ = './classifier_gap_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap_gap/labels_zero', generator=dict(background='zero'))
