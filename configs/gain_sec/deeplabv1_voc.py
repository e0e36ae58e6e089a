# GAIN-SEC on PASCAL VOC 2012: SEC's training, unchanged, on cues from GAIN's attention. Paper: 55.3 mIoU on val.
_base_ = '../sec/deeplabv1_voc.py'
cues = 'work_dirs/voc/gain_sec/cues'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/gain_sec/cues_voc.py')]
work_dir = 'work_dirs/voc/gain_sec/deeplabv1'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/gain_sec/cues_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='GAIN-SEC on PASCAL VOC 2012: tags in, DeepLab-V1 out',
    out_dir=work_dir + '/report',
    paper_source='GAIN (TPAMI 2020), Table 1',
    rows=[
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab-V1', labels=work_dir + '/predictions/labels', paper=dict(val=55.3))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'VGG-16, attention mining'),
        ('localization', 'GradCAM', 'one scale; background from gradients'),
        ('pseudo labels', 'SeedCues', 'above .2 of the maximum; a tenth background'),
        ('segmentor', 'DeepLab-V1', 'seed, expand, constrain')],
    gallery=[
        dict(row='cues', split='train', worst=6, best=6, maps=cues + '/maps', labels=cues + '/labels'),
        dict(row='DeepLab-V1', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
