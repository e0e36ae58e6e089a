# CAM on toy VOC with a backbone of mmseg: ResNet-18 of half width, stride 8, pretrained on texture patches.
_base_ = './classifier_toy.py'
prerequisites = [{{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_resnet18_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam_resnet18/classifier'
model = dict(
    backbone=dict(
        _delete_=True, type='mmseg.ResNet', depth=18, base_channels=32, stem_channels=32, strides=(1, 2, 1, 1),
        dilations=(1, 1, 1, 1), out_indices=(3, ), norm_cfg=dict(type='BN'), style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/pretrain/textures_resnet18/final.pth', prefix='backbone.')),
    head=dict(in_channels=256))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam_resnet18/labels', generator=dict(threshold=.4))
