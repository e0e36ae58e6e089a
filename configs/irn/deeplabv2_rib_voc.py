# DeepLab-V2 on the labels of IRN from RIB's class maps, PASCAL VOC 2012. Paper: 68.3 mIoU on val.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/irn/rib/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/irn/affinity_rib_voc.py')]
work_dir = 'work_dirs/voc/irn/rib/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_rib_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='RIB and IRN on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='class maps', labels='work_dirs/voc/rib/labels/labels', paper=dict(train=56.5)),
        dict(name='RIB, IRN', labels=labels + '/labels', paper=dict(train=70.6)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=68.3))],
    paper_source='RIB (NeurIPS 2021)',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'RIB', '10 steps on every image, four scales and flips'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='RIB, IRN', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
