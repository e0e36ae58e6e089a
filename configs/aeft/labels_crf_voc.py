# Labels from AEFT's saved class maps, background (1 - max)^9, with the dense CRF. Paper: 63.5 mIoU on train (Table 4); the
# power was chosen on that ground truth.
_base_ = ['../_base_/voc12_tags.py']
default_scope = 'mmseg'
data_root = {{_base_.data_root}}
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/aeft/classifier_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/aeft/labels_crf',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.SavedMapLabels', map_dir='work_dirs/voc/aeft/labels/maps', threshold=0., background='power',
        alpha=9., refiner=dict(type='wsss_mm.DenseCRF', preset='aeft')))
