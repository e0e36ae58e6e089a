# Baseline: filled boxes, trained on as BBAM's masks are.
_base_ = './mask-rcnn_toy.py'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='train', config='configs/pretrain/textures_toy.py'),
    dict(run='labels', config='configs/box_baselines/instances_fill_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/mask_rcnn_box'
train_dataloader = dict(dataset=dict(
    ann_file='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/instances_fill/instances.json',
    labels_made_by='configs/box_baselines/instances_fill_toy.py'))
