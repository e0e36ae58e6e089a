# IRN on toy VOC, first stage: what CAM's saved class maps say surely, as label maps with ignored pixels. The thresholds
# are the published ones, which were the best of four pairs on world 100 too; the CRF is the toy's.
_base_ = '../_base_/toy_voc_tags.py'
data_root = {{_base_.data_root}}
default_scope = 'mmseg'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/cam/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/confident',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file='ImageSets/Segmentation/train.txt'),
    generator=dict(
        type='wsss_mm.IRNConfidentLabels', map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels/maps',
        foreground=.3, background=.05, confidence=.7,
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=2, iterations=10)))
