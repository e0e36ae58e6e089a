# PSA on toy VOC, AEFT's class maps. As in AEFT: 64 steps, then one iteration of the CRF.
_base_ = './affinity_cam_toy.py'
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_tags_toy.py'),
    dict(run='labels', config='configs/psa/confident_aeft_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft/confident/labels'),
    labels_made_by='configs/psa/confident_aeft_toy.py'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft/labels',
    generator=dict(
        map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/labels/maps',
        alpha=32,
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=2, iterations=1)))
