# DeepLab-V2 on AdvCAM's class maps after PSA's walk, PASCAL VOC 2012.
_base_ = '../cam/deeplabv2_voc.py'
work = 'work_dirs/voc/psa/advcam'
maps = 'work_dirs/voc/advcam/labels'
labels = 'work_dirs/voc/psa/advcam/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/psa/affinity_advcam_voc.py')]
work_dir = 'work_dirs/voc/psa/advcam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/psa/affinity_advcam_voc.py'))
pseudo_labels = dict(out_dir='work_dirs/voc/psa/advcam/deeplabv2/predictions')
report = dict(
    title='AdvCAM and PSA on PASCAL VOC 2012: tags in, a trained segmentor out',
    out_dir='work_dirs/voc/psa/advcam/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='AdvCAM', labels=maps + '/labels', maps=maps + '/maps', curve=True, paper=dict(train=55.6)),
        dict(name='AdvCAM, PSA', labels=labels + '/labels', maps=labels + '/maps', paper=dict(train=68.0)),
        dict(name='DeepLab-V2', labels=work + '/deeplabv2/predictions/labels')],
    paper_source='dissertation of J. Lee, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'AdvCAM', 'the image climbs'),
        ('refinement', 'PSA', 'sure areas, AffinityNet, 256 steps'),
        ('pseudo labels', 'PSALabels', 'background (1 - max)^16'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='AdvCAM, PSA', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work + '/deeplabv2/predictions/labels')])
