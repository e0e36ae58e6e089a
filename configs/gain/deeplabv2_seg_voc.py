# GAIN's own segmentor on PASCAL VOC 2012: DeepLab (ResNet-101) with L_seg on the cues and L_cl on the mean logits.
# Paper: 59.4 mIoU on val. Its text lets the rate fall to a tenth every 2,000 of 20,000 iterations, which ends at 5e-14,
# and names a momentum of .3: taken as slips, a polynomial schedule and .9 here. 321 x 321 is read as squashed, as SEC.
_base_ = '../cam/deeplabv2_voc.py'
cues = 'work_dirs/voc/gain_sec/cues'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/gain_sec/cues_voc.py')]
work_dir = 'work_dirs/voc/gain/deeplabv2_seg'
model = dict(
    type='wsss_mm.SeededSegmentor',
    seed_losses=[dict(type='wsss_mm.GAINSegLoss', seg_weight=1., cl_weight=1.)],
    test_cfg=dict(size=(321, 321), scales=(1., ), flip=False))
train_dataloader = dict(dataset=dict(
    box_dir='Annotations',   # tags
    label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/gain_sec/cues_voc.py',
    pipeline=[
        dict(type='wsss_mm.LoadImage'),
        dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
        dict(type='wsss_mm.LoadWeakLabels', boxes=False),
        dict(type='Resize', scale=(321, 321), keep_ratio=False),
        dict(type='RandomFlip', prob=.5),
        dict(type='wsss_mm.PackWeakInputs')]))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='GAIN on PASCAL VOC 2012: tags in, its own DeepLab out',
    out_dir=work_dir + '/report',
    paper_source='GAIN (TPAMI 2020), Table 1',
    rows=[
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab, L_cl + L_seg', labels=work_dir + '/predictions/labels', paper=dict(val=59.4))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'VGG-16, attention mining'),
        ('localization', 'GradCAM', 'one scale; background from gradients'),
        ('pseudo labels', 'SeedCues', 'above .2 of the maximum; a tenth background'),
        ('segmentor', 'DeepLab-V2', 'L_cl + L_seg')],
    protocol={'training seed': '0', 'test of the segmentor': '321 x 321, then dense CRF',
              'cues': 'scored where they are: pixels without a cue are left out'},
    gallery=[
        dict(row='cues', split='train', worst=6, best=6, maps=cues + '/maps', labels=cues + '/labels'),
        dict(row='DeepLab, L_cl + L_seg', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
