# CAM on COCO 2014 with the recipe for PASCAL VOC; no paper or code at hand gives one for COCO.
_base_ = './classifier_voc.py'
data_root = 'data/coco'
prerequisites = [dict(run='data', kind='coco', root=data_root)]
work_dir = 'work_dirs/coco/cam/classifier'
max_iters = 25865   # 5 epochs of 5,173
model = dict(head=dict(num_classes=80))
train_dataloader = dict(dataset=dict(
    type='wsss_mm.WeakCOCODataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt'))
train_cfg = dict(max_iters=max_iters)
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters + 1)]
pseudo_labels = dict(
    out_dir='work_dirs/coco/cam/labels',
    dataset=dict(type='wsss_mm.WeakCOCODataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt'))
