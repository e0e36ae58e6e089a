# AEFT on COCO 2014, first phase, with the recipe for PASCAL VOC; the paper gives none for COCO.
_base_ = './warmup_voc.py'
data_root = 'data/coco'
prerequisites = [dict(run='data', kind='coco', root=data_root)]
work_dir = 'work_dirs/coco/aeft/warmup'
max_iters = 186246     # 18 epochs of 10,347
poly_iters = 413880    # 40 epochs
model = dict(head=dict(num_classes=80))
train_dataloader = dict(dataset=dict(
    type='wsss_mm.WeakCOCODataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt'))
train_cfg = dict(max_iters=max_iters)
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=poly_iters + 1)]
