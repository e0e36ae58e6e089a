# Variant: average pooling instead of BAP (paper, Table 1, row GAP): no attention, and labels without u_0.
_base_ = './classifier_voc.py'
work_dir = 'work_dirs/voc/bap_gap/classifier'
model = dict(head=dict(attention=False))
pseudo_labels = dict(out_dir='work_dirs/voc/bap_gap/labels', generator=dict(background='class_map'))
