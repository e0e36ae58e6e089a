# Mask R-CNN on BANA's instances, toy VOC: the loss of the reliable pixels alone.
_base_ = '../bbam/mask-rcnn_toy.py'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='train', config='configs/pretrain/textures_toy.py'),
    dict(run='labels', config='configs/bap/instances_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/mask_rcnn'
model = dict(roi_head=dict(mask_head=dict(grow=None, balanced=False)))
train_dataloader = dict(dataset=dict(
    ann_file='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/instances/instances.json',
    labels_made_by='configs/bap/instances_toy.py'))
