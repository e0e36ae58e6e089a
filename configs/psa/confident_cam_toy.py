# PSA on toy VOC, first step: areas that are surely an object's or background's, from CAM's saved class maps.
_base_ = '../_base_/toy_voc_tags.py'
data_root = {{_base_.data_root}}
default_scope = 'mmseg'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/cam/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/confident',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file='ImageSets/Segmentation/train.txt'),
    generator=dict(
        type='wsss_mm.PSAConfidentAreas', map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels/maps',
        alpha_low=4, alpha_high=32,
        crf=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=2, iterations=10)))
