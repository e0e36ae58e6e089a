# Reference: the true masks, plain cross-entropy.
_base_ = './deeplabv2_ycrf_toy.py'
prerequisites = [{{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv2_clean'
labels = 'data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/SegmentationClass'
train_dataloader = dict(dataset=dict(label_dirs=dict(seg_map=labels, seg_map_ret=labels), labels_made_by=None))
