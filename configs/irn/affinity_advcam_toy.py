# IRN on AdvCAM's class maps, toy VOC. The power is AdvCAM's own, the threshold the toy's.
_base_ = './affinity_cam_toy.py'
confident = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/advcam/confident'
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py'),
    dict(run='labels', config='configs/irn/confident_advcam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/advcam/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=confident + '/labels'), labels_made_by='configs/irn/confident_advcam_toy.py'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/advcam/labels',
    generator=dict(
        map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/labels/maps', power=1.5))
