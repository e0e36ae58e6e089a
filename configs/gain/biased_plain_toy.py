# The classifier that GAIN's experiment on biased data compares with: toy VOC's profile `biased`, image tags alone.
_base_ = '../cam/classifier_toy.py'
data_root = 'data/toy_voc/biased_world{{$TOY_WORLD:0}}'
prerequisites = [
    dict(run='data', kind='toy', root=data_root, profile='biased', seed=int('{{$TOY_WORLD:0}}')),
    dict(run='train', config='configs/pretrain/textures_tags_toy.py')]
work_dir = 'work_dirs/toy_biased{{$TOY_WORLD:0}}/plain'
max_iters = 400
train_dataloader = dict(dataset=dict(data_root=data_root))
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end=80),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=80, end=max_iters)]
pseudo_labels = None  # what is compared is what the classifier recognises
