# Reference: the true masks, and the usual loss of a mask head.
_base_ = './mask-rcnn_toy.py'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='train', config='configs/pretrain/textures_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/mask_rcnn_full'
model = dict(roi_head=dict(mask_head=dict(grow=None, balanced=False)))
train_dataloader = dict(dataset=dict(
    ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/instances_train.json',
    labels_made_by=None))
