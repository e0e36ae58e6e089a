# AEFT on COCO 2014, second phase.
_base_ = './classifier_voc.py'
data_root = 'data/coco'
prerequisites = [
    dict(run='data', kind='coco', root=data_root), dict(run='train', config='configs/aeft/warmup_coco.py')]
work_dir = 'work_dirs/coco/aeft/classifier'
load_from = 'work_dirs/coco/aeft/warmup/final.pth'
warmup_iters = 186246
max_iters = 56892                           # 22 epochs of 2,586
poly_iters = 413880 - warmup_iters
base_lr = .01 * (1 - warmup_iters / 413880)**.9
model = dict(head=dict(num_classes=80))
train_dataloader = dict(dataset=dict(
    type='wsss_mm.WeakCOCODataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt'))
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=base_lr))
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=poly_iters + 1)]
pseudo_labels = dict(
    out_dir='work_dirs/coco/aeft/labels',
    dataset=dict(type='wsss_mm.WeakCOCODataset', data_root=data_root, ann_file='ImageSets/Segmentation/train.txt'))
