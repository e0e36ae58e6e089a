# Variant: boxes, and the true masks of the 1,464 images of VOC's own train split.
_base_ = './deeplabv1_voc.py'
work_dir = 'work_dirs/voc/bap/deeplabv1_semi'
train_dataloader = dict(dataset=dict(mask_ann_file='ImageSets/Segmentation/train.txt'))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
