# Variant: the average-pooling classifier, with background attention in its labels after all. Not in the paper.
_base_ = './classifier_gap_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap_gap/labels_u0', generator=dict(background='attention'))
