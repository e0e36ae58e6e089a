# Variant: Y_ret alone, plain cross-entropy.
_base_ = './deeplabv2_ycrf_voc.py'
work_dir = 'work_dirs/voc/bap/deeplabv2_yret'
train_dataloader = dict(dataset=dict(label_dirs=dict(seg_map='work_dirs/voc/bap/labels/Y_ret')))
