# IRN on W-OoD's class maps, toy VOC. The power is W-OoD's own, the threshold the toy's.
_base_ = './affinity_cam_toy.py'
confident = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/confident'
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py'),
    dict(run='labels', config='configs/irn/confident_wood_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=confident + '/labels'), labels_made_by='configs/irn/confident_wood_toy.py'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/labels',
    generator=dict(
        map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels/maps', power=1.5))
