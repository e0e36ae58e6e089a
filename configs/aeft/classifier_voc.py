# AEFT (ECCV 2022) on PASCAL VOC 2012 train_aug, second phase: 22 epochs with the erasing triplet, from the warm-up on.
# Paper: 56.0 mIoU of the class maps on train, 63.5 after the CRF.
_base_ = '../gpp/classifier_voc.py'
data_root = 'data/VOCdevkit/VOC2012'
prerequisites = [
    dict(run='data', kind='voc', root=data_root), dict(run='train', config='configs/aeft/warmup_voc.py')]
work_dir = 'work_dirs/voc/aeft/classifier'
load_from = 'work_dirs/voc/aeft/warmup/final.pth'
warmup_iters = 23796
max_iters = 7260                            # 22 epochs of 330
poly_iters = 52880 - warmup_iters
# (1 - (s + t)/T)^.9 = (1 - s/T)^.9 (1 - t/(T - s))^.9: the schedule goes on where the warm-up's was left
base_lr = .01 * (1 - warmup_iters / 52880)**.9

# The image-level loss sees 8 of the 32 images. Both numbers, and the triplet's min_hard, are per process.
model = dict(
    backbone=dict(init_cfg=None),
    head=dict(loss_images=8),
    objectives=[
        dict(type='wsss_mm.ErasingTriplet', attract_weight=.2, repel_weight=.15, margin=.5, t_high=.6, t_low=.2)])
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=base_lr))
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=poly_iters + 1)]
auto_scale_lr = dict(base_batch_size=32)
pseudo_labels = dict(out_dir='work_dirs/voc/aeft/labels')
