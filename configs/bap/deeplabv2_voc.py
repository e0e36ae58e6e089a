# BANA, stage 3, on PASCAL VOC 2012: DeepLab-V2 (ResNet-101) on Y_crf and Y_ret with the noise-aware loss.
# Paper: 74.6 mIoU on val with MS-COCO weights (Table 5), 70.9 with ImageNet weights as here (supplement, Table 6).
_base_ = './deeplabv1_voc.py'
work_dir = 'work_dirs/voc/bap/deeplabv2'
max_iters = 20000

model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675]),   # those of the weights below
    backbone=dict(
        _delete_=True, type='ResNet', depth=101, style='caffe', out_indices=(3, ), strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4), contract_dilation=False, norm_eval=True,
        norm_cfg=dict(type='BN', requires_grad=False),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet101_caffe')),
    decode_head=dict(
        _delete_=True, type='wsss_mm.DeepLabV2Head', in_channels=2048, in_index=0, channels=256, num_classes=21,
        rates=(6, 12, 18, 24), form='features', classifier='cosine', scale=20.,
        loss_decode=dict(type='wsss_mm.NoiseAwareLoss', gamma=7., lambda_=.1)),
    test_cfg=dict(crf=dict(bilateral_xy=67, bilateral_rgb=3, gaussian_xy=1)))
train_dataloader = dict(batch_size=10)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    optimizer=dict(lr=2.5e-4),
    paramwise_cfg=dict(_delete_=True, custom_keys={'decode_head': dict(lr_mult=10.)}))
param_scheduler = [dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end=max_iters)]
auto_scale_lr = dict(base_batch_size=10)
pseudo_labels = dict(
    out_dir=work_dir + '/predictions',
    generator=dict(refiner=dict(bilateral_xy=67, bilateral_rgb=3, gaussian_xy=1)))
labels = 'work_dirs/voc/bap/labels'
report = dict(
    title='BANA on PASCAL VOC 2012: boxes in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='BANA (CVPR 2021), Table 1; supplement, Table 6 (ImageNet weights)',
    rows=[
        dict(name='Y_crf', labels=labels + '/Y_crf', paper=dict(train=78.7, val=79.2)),
        dict(name='Y_ret', labels=labels + '/Y_ret', paper=dict(train=70.8, val=69.9)),
        dict(name='DeepLab-V2 + NAL', labels=work_dir + '/predictions/labels', paper=dict(val=70.9))],
    stations=[
        ('weak labels', 'boxes', 'no mask is seen in training'),
        ('classifier', 'BAPHead', 'background-aware pooling'),
        ('localization', 'u_0, u_c', 'background attention, class maps'),
        ('refinement', 'DenseCRF', 'Potts, 10 iterations'),
        ('pseudo labels', 'Y_crf, Y_ret', 'differ where unreliable'),
        ('segmentor', 'DeepLab-V2', 'noise-aware loss')],
    gallery=[
        dict(row='Y_crf', split='train', worst=6, best=6, y_crf=labels + '/Y_crf', y_ret=labels + '/Y_ret'),
        dict(row='DeepLab-V2 + NAL', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
