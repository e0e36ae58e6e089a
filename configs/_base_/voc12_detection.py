# PASCAL VOC 2012 + SBD (train_aug, 10,582 images) for mmdet's detectors, by COCO files of its boxes and masks.
data_root = 'data/VOCdevkit/VOC2012'
voc_data = dict(run='data', kind='voc', root=data_root)
voc_instances = dict(run='data', kind='instances', root=data_root)   # writes data_root/annotations
metainfo = dict(classes=(
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
    'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'))
# Caffe's ResNets (MSRA): BGR, mean subtracted, no division; 32 is the coarsest stride of the backbone
data_preprocessor = dict(
    type='DetDataPreprocessor', mean=[102.9801, 115.9465, 122.7717], std=[1., 1., 1.], bgr_to_rgb=False, pad_mask=True,
    pad_size_divisor=32)
box_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadWeakLabels'),
    dict(type='wsss_mm.PackWeakInputs')]
labelled_boxes = dict(
    type='wsss_mm.CocoBoxDataset', data_root=data_root, ann_file='annotations/boxes_trainaug.json',
    data_prefix=dict(img_path='JPEGImages'), metainfo=metainfo, test_mode=True, pipeline=box_pipeline)

train_dataloader = dict(
    batch_size=8, num_workers=4, persistent_workers=True, sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='wsss_mm.InstanceLabelDataset', ann_file=data_root + '/annotations/boxes_trainaug.json',
        data_prefix=dict(img=data_root + '/JPEGImages'), metainfo=metainfo, filter_cfg=dict(filter_empty_gt=True)))
val_dataloader = dict(
    batch_size=1, num_workers=4, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='wsss_mm.InstanceLabelDataset', ann_file=data_root + '/annotations/instances_val.json',
        data_prefix=dict(img=data_root + '/JPEGImages'), metainfo=metainfo, test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(1333, 800), keep_ratio=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
val_evaluator = dict(type='wsss_mm.InstanceMetric', ann_file=data_root + '/annotations/instances_val.json')
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
