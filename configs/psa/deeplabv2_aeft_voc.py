# DeepLab-V2 on AEFT's class maps after PSA's walk, PASCAL VOC 2012.
_base_ = '../cam/deeplabv2_voc.py'
work = 'work_dirs/voc/psa/aeft'
maps = 'work_dirs/voc/aeft/labels'
labels = 'work_dirs/voc/psa/aeft/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/psa/affinity_aeft_voc.py')]
work_dir = 'work_dirs/voc/psa/aeft/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/psa/affinity_aeft_voc.py'))
pseudo_labels = dict(out_dir='work_dirs/voc/psa/aeft/deeplabv2/predictions')
report = dict(
    title='AEFT and PSA on PASCAL VOC 2012: tags in, a trained segmentor out',
    out_dir='work_dirs/voc/psa/aeft/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='AEFT, CRF', labels=maps + '/labels', maps=maps + '/maps', curve=True, paper=dict(train=63.5)),
        dict(name='AEFT, PSA', labels=labels + '/labels', maps=labels + '/maps', paper=dict(train=71.0)),
        dict(name='DeepLab-V2', labels=work + '/deeplabv2/predictions/labels', paper=dict(val=70.9))],
    paper_source='AEFT (ECCV 2022), Tables 4 and 5; all on ResNet-38',
    stations=[
        ('weak labels', 'tags', 'no box or mask is seen in training'),
        ('classifier', 'GPPHead', 'GPP and the erasing triplet'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'PSA', 'sure areas, AffinityNet, 64 steps, then one iteration of the CRF'),
        ('pseudo labels', 'PSALabels', 'background (1 - max)^19'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='AEFT, PSA', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work + '/deeplabv2/predictions/labels')])
