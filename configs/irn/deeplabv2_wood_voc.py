# DeepLab-V2 on the labels of IRN from W-OoD's class maps, PASCAL VOC 2012.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/irn/wood/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/irn/affinity_wood_voc.py')]
work_dir = 'work_dirs/voc/irn/wood/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_wood_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='W-OoD and IRN on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='class maps', labels='work_dirs/voc/wood/labels/labels', paper=dict(train=53.3)),
        dict(name='W-OoD, IRN', labels=labels + '/labels', paper=dict(train=71.1)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    paper_source='dissertation of J. Lee, chapter 4',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'and images of none of the classes'),
        ('localization', 'CAM', 'four scales and flips'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='W-OoD, IRN', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
