# Class maps made elsewhere, for toy VOC; here CAM's saved maps stand for them. Label maps beside them at the threshold
# of CAM's own config.
_base_ = ['../_base_/toy_voc_tags.py', '../_base_/default_runtime.py']
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/cam/classifier_toy.py')]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/imported/labels',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root={{_base_.data_root}}, test_mode=True, pipeline={{_base_.tag_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(
        type='wsss_mm.ImportedMaps', threshold=.25, classes='wsss_mm.ToyVOCDataset',
        map_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels/maps'))
