# DSRG, step 2, with ResNet-101. Paper: 61.4 mIoU on val.
_base_ = './deeplabv2_voc.py'
cues = 'work_dirs/voc/dsrg/cues'
labels = 'work_dirs/voc/dsrg_resnet101/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='train', config='configs/dsrg/seeded_resnet101_voc.py'),
    dict(run='labels', config='configs/dsrg/seeded_resnet101_voc.py')]
work_dir = 'work_dirs/voc/dsrg_resnet101/deeplabv2'
load_from = 'work_dirs/voc/dsrg_resnet101/seeded/final.pth'
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675]),
    backbone=dict(
        _delete_=True, type='ResNet', depth=101, style='caffe', out_indices=(3, ), strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4), contract_dilation=False, norm_eval=True, norm_cfg=dict(type='BN', requires_grad=False)),
    decode_head=dict(
        _delete_=True, type='wsss_mm.DeepLabV2Head', in_channels=2048, in_index=0, num_classes=21,
        rates=(6, 12, 18, 24), form='sum', classifier='dot',
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)))
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, custom_keys={'decode_head': dict(lr_mult=10.)}))
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/dsrg/seeded_resnet101_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='DSRG with ResNet-101 on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='DSRG (CVPR 2018), ResNet-101',
    rows=[
        dict(name='cues', labels=cues + '/labels'),
        dict(name='step 1, CRF', labels=labels + '/labels'),
        dict(name='DeepLab-V2, step 2', labels=work_dir + '/predictions/labels', paper=dict(val=61.4))],
    gallery=[
        dict(row='step 1, CRF', split='train', worst=6, best=6, maps=cues + '/maps', labels=labels + '/labels'),
        dict(row='DeepLab-V2, step 2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
