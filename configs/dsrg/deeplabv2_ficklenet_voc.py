# FickleNet's segmentor, step 2. The paper: 61.2 mIoU on val.
_base_ = './deeplabv2_voc.py'
cues = 'work_dirs/voc/dsrg_ficklenet/cues'
labels = 'work_dirs/voc/dsrg_ficklenet/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='train', config='configs/dsrg/seeded_ficklenet_voc.py'),
    dict(run='labels', config='configs/dsrg/seeded_ficklenet_voc.py')]
work_dir = 'work_dirs/voc/dsrg_ficklenet/deeplabv2'
load_from = 'work_dirs/voc/dsrg_ficklenet/seeded/final.pth'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/dsrg/seeded_ficklenet_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='FickleNet with DSRG on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='FickleNet (CVPR 2019), VGG-16',
    rows=[
        dict(name='cues', labels=cues + '/labels'),
        dict(name='step 1, CRF', labels=labels + '/labels'),
        dict(name='DeepLab-V2, step 2', labels=work_dir + '/predictions/labels', paper=dict(val=61.2))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training; saliency maps'),
        ('classifier', 'StochasticHead', 'VGG-16, 9 x 9, nine of ten units dropped'),
        ('localization', 'StochasticCAM', '200 passes, one scale'),
        ('pseudo labels', 'SeedCues', 'above .35 in any pass; saliency below .06'),
        ('segmentor', 'DeepLab-V2', 'grown seeds, then its own predictions')],
    gallery=[
        dict(
            row='step 1, CRF', split='train', worst=6, best=6, maps='work_dirs/voc/ficklenet/labels/maps',
            labels=labels + '/labels'),
        dict(row='DeepLab-V2, step 2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
