# COCO 2014 as tools/prepare_dataset.py coco lays it out: image tags, masks from COCO-Stuff's pixelmaps.
data_root = 'data/coco'
coco_data = dict(run='data', kind='coco', root=data_root)
# ImageNet's mean and deviation as torchvision's ResNets want them: RGB
data_preprocessor = dict(
    type='wsss_mm.WeakSegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True, pad_val=0, seg_pad_val=255)
# the same mean as BGR pixels: crops of smaller images are padded with zeros after normalisation (up to .01)
image_pad = (104, 116, 124)
tag_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadWeakLabels', boxes=False),
    dict(type='wsss_mm.PackWeakInputs')]
test_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
    dict(type='wsss_mm.PackWeakInputs')]
# for segmentation configs: val_dataloader = test_dataloader = {{_base_.segmentation_val}}
segmentation_val = dict(
    batch_size=1, num_workers=4, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='wsss_mm.WeakCOCODataset', data_root=data_root, ann_file='ImageSets/Segmentation/val.txt', tag_file=None,
        pipeline=test_pipeline, test_mode=True))
