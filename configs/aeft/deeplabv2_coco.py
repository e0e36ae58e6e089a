# DeepLab-V2 (ResNet-101) on AEFT's labels of COCO 2014. Paper: 44.8 mIoU on val, after a random walk on the labels,
# with DeepLab-LargeFOV on ResNet-38.
_base_ = '../cam/deeplabv2_coco.py'
prerequisites = [
    dict(run='data', kind='coco', root='data/coco'), dict(run='labels', config='configs/aeft/classifier_coco.py')]
work_dir = 'work_dirs/coco/aeft/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map='work_dirs/coco/aeft/labels/labels'), labels_made_by='configs/aeft/classifier_coco.py'))
