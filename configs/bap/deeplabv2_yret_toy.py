# Variant: Y_ret alone, plain cross-entropy.
_base_ = './deeplabv2_ycrf_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv2_yret'
labels = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/labels/Y_ret'
train_dataloader = dict(dataset=dict(label_dirs=dict(seg_map=labels, seg_map_ret=labels)))
