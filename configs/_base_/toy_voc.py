# Toy VOC: 96-px scenes, 6 classes. TOY_WORLD is the seed of the drawn world, TOY_PROFILE its profile (boxes | tags).
data_root = 'data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}'
toy_data = dict(run='data', kind='toy', root=data_root, profile='{{$TOY_PROFILE:boxes}}', seed=int('{{$TOY_WORLD:0}}'))
crop_size = (96, 96)
data_preprocessor = dict(
    type='wsss_mm.WeakSegDataPreProcessor', mean=[110., 110., 110.], std=[60., 60., 60.], bgr_to_rgb=True,
    pad_val=0, seg_pad_val=255, size=crop_size)
# boxes, no masks
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
    batch_size=1, num_workers=1, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/val.txt', box_dir=None,
        pipeline=test_pipeline, test_mode=True))
