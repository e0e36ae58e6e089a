# DeepLab-V2 on the labels of IRN from AEFT's class maps, PASCAL VOC 2012.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/irn/aeft/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/irn/affinity_aeft_voc.py')]
work_dir = 'work_dirs/voc/irn/aeft/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_aeft_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='AEFT and IRN on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='AEFT, CRF', labels='work_dirs/voc/aeft/labels/labels', paper=dict(train=63.5)),
        dict(name='AEFT, IRN', labels=labels + '/labels'),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    paper_source='AEFT (ECCV 2022), Table 4; the paper refines with AffinityNet',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GPPHead', 'GPP and the erasing triplet'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='AEFT, IRN', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
