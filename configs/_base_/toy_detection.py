# Toy VOC for mmdet's detectors: 96-px scenes, 6 classes; COCO files of the boxes, and of the true masks for the scores.
data_root = 'data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}'
toy_data = dict(run='data', kind='toy', root=data_root, profile='{{$TOY_PROFILE:boxes}}', seed=int('{{$TOY_WORLD:0}}'))
toy_instances = dict(run='data', kind='instances', root=data_root)   # writes data_root/annotations
metainfo = dict(classes=('cat', 'dog', 'cow', 'car', 'train', 'boat'))
data_preprocessor = dict(
    type='DetDataPreprocessor', mean=[110., 110., 110.], std=[60., 60., 60.], bgr_to_rgb=True, pad_mask=True,
    pad_size_divisor=16)
# boxes, as explainers and makers of labels read them
box_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadWeakLabels'),
    dict(type='wsss_mm.PackWeakInputs')]
labelled_boxes = dict(
    type='wsss_mm.CocoBoxDataset', data_root=data_root, ann_file='annotations/boxes_train.json',
    data_prefix=dict(img_path='JPEGImages'), metainfo=metainfo, test_mode=True, pipeline=box_pipeline)

train_dataloader = dict(
    batch_size=8, num_workers=1, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='wsss_mm.InstanceLabelDataset', ann_file=data_root + '/annotations/boxes_train.json',
        data_prefix=dict(img=data_root + '/JPEGImages'), metainfo=metainfo, filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomFlip', prob=.5),
            dict(type='PhotoMetricDistortion', hue_delta=9, contrast_range=(.7, 1.3), saturation_range=(.7, 1.3)),
            dict(type='PackDetInputs')]))
val_dataloader = dict(
    batch_size=1, num_workers=1, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='wsss_mm.InstanceLabelDataset', ann_file=data_root + '/annotations/instances_val.json',
        data_prefix=dict(img=data_root + '/JPEGImages'), metainfo=metainfo, test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(96, 96), keep_ratio=True),   # their own size; mmdet asks for the scale factor
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
# sizes: sides of squares; a quarter of the objects is small, a quarter large
val_evaluator = dict(
    type='wsss_mm.InstanceMetric', ann_file=data_root + '/annotations/instances_val.json', sizes=(26, 36))
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
