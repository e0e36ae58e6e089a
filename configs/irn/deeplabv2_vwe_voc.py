# DeepLab-V2 on the labels of IRN from VWE's class maps, PASCAL VOC 2012. Paper: 67.2 mIoU on val.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/irn/vwe/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/irn/affinity_vwe_voc.py')]
work_dir = 'work_dirs/voc/irn/vwe/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_vwe_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='VWE and IRN on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='class maps', labels='work_dirs/voc/vwe/labels/labels', paper=dict(train=52.9)),
        dict(name='VWE, IRN', labels=labels + '/labels', paper=dict(train=67.7)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=67.2))],
    paper_source='VWE (IJCAI 2021), Tables 1 to 3',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'HSPPHead', 'HSPP and visual words'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='VWE, IRN', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
