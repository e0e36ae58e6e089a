# Variant: boxes, and the true masks of every seventh training image.
_base_ = './deeplabv2_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv2_semi'
train_dataloader = dict(dataset=dict(mask_ann_file='ImageSets/Segmentation/train_masks.txt'))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
