# Pretraining for the tag methods: the texture patches of profile `tags`.
_base_ = './textures_toy.py'
patches_root = 'data/toy_voc/patches_tags'
prerequisites = [dict(run='data', kind='patches', root=patches_root, profile='tags', seed=100)]
work_dir = 'work_dirs/pretrain/textures_tags'
train_dataloader = dict(dataset=dict(ann_file=patches_root + '/patches.npz'))
