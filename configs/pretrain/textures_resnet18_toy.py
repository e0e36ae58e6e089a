# Texture patches for a ResNet-18 of half width, stride 8.
_base_ = './textures_tags_toy.py'
work_dir = 'work_dirs/pretrain/textures_resnet18'
model = dict(
    backbone=dict(
        _delete_=True, type='mmseg.ResNet', depth=18, base_channels=32, stem_channels=32, strides=(1, 2, 1, 1),
        dilations=(1, 1, 1, 1), out_indices=(3, ), norm_cfg=dict(type='BN'), style='pytorch'),
    head=dict(in_channels=256))
