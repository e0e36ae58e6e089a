# COCO 2017 for mmdet's detectors, in its own layout; the labelling run reads the boxes of the training images alone.
data_root = 'data/coco'
coco_data = dict(run='data', kind='coco17', root=data_root)
classes = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat', 'traffic light',
    'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog', 'horse', 'sheep', 'cow', 'elephant',
    'bear', 'zebra', 'giraffe', 'backpack', 'umbrella', 'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard',
    'sports ball', 'kite', 'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle',
    'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich', 'orange', 'broccoli',
    'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch', 'potted plant', 'bed', 'dining table', 'toilet',
    'tv', 'laptop', 'mouse', 'remote', 'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink',
    'refrigerator', 'book', 'clock', 'vase', 'scissors', 'teddy bear', 'hair drier', 'toothbrush')
metainfo = dict(classes=classes)
data_preprocessor = dict(   # Caffe's ResNets (MSRA), as on VOC
    type='DetDataPreprocessor', mean=[102.9801, 115.9465, 122.7717], std=[1., 1., 1.], bgr_to_rgb=False, pad_mask=True,
    pad_size_divisor=32)
box_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadWeakLabels'),
    dict(type='wsss_mm.PackWeakInputs')]
labelled_boxes = dict(
    type='wsss_mm.CocoBoxDataset', data_root=data_root, ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img_path='train2017'), metainfo=metainfo, test_mode=True, pipeline=box_pipeline)

train_dataloader = dict(
    batch_size=8, num_workers=4, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='wsss_mm.InstanceLabelDataset', ann_file=data_root + '/annotations/instances_train2017.json',
        data_prefix=dict(img=data_root + '/train2017'), metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True, min_size=32)))
val_dataloader = dict(
    batch_size=1, num_workers=4, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='wsss_mm.InstanceLabelDataset', ann_file=data_root + '/annotations/instances_val2017.json',
        data_prefix=dict(img=data_root + '/val2017'), metainfo=metainfo, test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(1333, 800), keep_ratio=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
val_evaluator = dict(type='wsss_mm.InstanceMetric', ann_file=data_root + '/annotations/instances_val2017.json')
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
