# BBAM, stage 3, on toy VOC: masks with ignored pixels from the maps of the objects, and label maps of them.
_base_ = ['../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [
    {{_base_.toy_data}}, {{_base_.toy_instances}}, dict(run='labels', config='configs/bbam/faster-rcnn_toy.py')]
# as the published values for images of some 500 px: a blur of 16 and 48 px, a CRF of 80 px
crf = dict(
    type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1, gaussian_xy=2,
    iterations=10)
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/masks',
    num_workers=2,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.ObjectMapLabels',
        map_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/maps/objects',
        ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/boxes_train.json',
        builder=dict(type='wsss_mm.MaskBuilder', preset='official', blur=(3, 9), crf=crf), crf=crf))
