# AEFT (ECCV 2022) on PASCAL VOC 2012 train_aug, first phase: 18 epochs of classification alone.
_base_ = '../gpp/classifier_voc.py'
work_dir = 'work_dirs/voc/aeft/warmup'
max_iters = 23796   # 18 epochs of 1,322
train_cfg = dict(max_iters=max_iters)
pseudo_labels = None   # the parent's: they would go into the parent's folder
