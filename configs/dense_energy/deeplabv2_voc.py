# DeepLab-V2 (ResNet-101) on SEC's cues from CAM, with the dense CRF's energy as a second loss, PASCAL VOC 2012.
# The widths are customary for this loss: 15 grey levels, 100 pixels, which are 12.5 positions at a stride of 8. Published
# weights are of a sum over pairs and cannot be carried over; the one here was not tried on VOC.
_base_ = '../cam/deeplabv2_voc.py'
cues = 'work_dirs/voc/sec/cues'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/sec/cues_voc.py')]
work_dir = 'work_dirs/voc/dense_energy/deeplabv2'
model = dict(
    type='wsss_mm.SeededSegmentor',
    seed_losses=[
        dict(type='wsss_mm.GAINSegLoss', seg_weight=1., cl_weight=0.),   # cross-entropy on the cues
        dict(type='wsss_mm.DenseEnergyLoss', weight=1., filter=dict(
            type='wsss_mm.BilateralFilter', xy=12.5, rgb=15., kernel='lattice'))])
train_dataloader = dict(dataset=dict(
    box_dir='Annotations',   # tags
    label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/sec/cues_voc.py',
    pipeline=[
        dict(type='wsss_mm.LoadImage'),
        dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
        dict(type='wsss_mm.LoadWeakLabels', boxes=False),
        dict(type='wsss_mm.MarkValid'),   # what a crop pads is in no pair
        dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.5)),
        dict(type='wsss_mm.RandomCropWithBoxes', crop_size=321),
        dict(type='RandomFlip', prob=.5),
        dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='Dense energy on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='no figure of the paper is of these cues',
    rows=[
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab-V2 + dense energy', labels=work_dir + '/predictions/labels')],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'ResNet-50, global average pooling'),
        ('localization', 'CAM', 'one scale'),
        ('pseudo labels', 'SeedCues', 'above .2 of the maximum; a tenth background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy and dense energy')],
    protocol={
        'training seed': '0', 'test of the segmentor': 'scales .5, .75, 1, 1.5 with flips, then dense CRF',
        'cues': 'scored where they are: pixels without a cue are left out'},
    gallery=[
        dict(row='cues', split='train', worst=6, best=6, labels=cues + '/labels'),
        dict(row='DeepLab-V2 + dense energy', split='val', worst=6, best=6,
             prediction=work_dir + '/predictions/labels')])
