# PASCAL VOC 2012 + SBD in mmseg's usual layout; boxes from the XML files.
data_root = 'data/VOCdevkit/VOC2012'
voc_data = dict(run='data', kind='voc', root=data_root)
crop_size = (321, 321)
# Caffe's VGG-16 and ResNet-101: BGR, mean subtracted, no division
data_preprocessor = dict(
    type='wsss_mm.WeakSegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1., 1., 1.], bgr_to_rgb=False,
    pad_val=0, seg_pad_val=255, size=crop_size)
box_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadWeakLabels'),
    dict(type='wsss_mm.PackWeakInputs')]
test_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
    dict(type='wsss_mm.PackWeakInputs')]
# for segmentation configs: val_dataloader = test_dataloader = {{_base_.segmentation_val}}
segmentation_val = dict(
    batch_size=1, num_workers=4, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/val.txt', box_dir=None,
        pipeline=test_pipeline, test_mode=True))
