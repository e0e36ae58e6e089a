# IRN on PASCAL VOC 2012 train_aug, first stage: what CAM's saved class maps say surely, as label maps with ignored
# pixels. Thresholds and CRF of the published code.
_base_ = '../_base_/voc12_tags.py'
data_root = {{_base_.data_root}}
default_scope = 'mmseg'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/cam/classifier_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/cam/confident',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.IRNConfidentLabels', map_dir='work_dirs/voc/cam/labels/maps', foreground=.30, background=.05,
        confidence=.7, refiner=dict(type='wsss_mm.DenseCRF', preset='irn', iterations=10)))
