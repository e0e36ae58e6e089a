# PSA on toy VOC, AdvCAM's class maps.
_base_ = './affinity_cam_toy.py'
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py'),
    dict(run='labels', config='configs/psa/confident_advcam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/advcam/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/advcam/confident/labels'),
    labels_made_by='configs/psa/confident_advcam_toy.py'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/advcam/labels',
    generator=dict(map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/labels/maps'))
