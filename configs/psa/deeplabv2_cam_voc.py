# DeepLab-V2 on CAM's class maps after PSA's walk, PASCAL VOC 2012.
_base_ = '../cam/deeplabv2_voc.py'
work = 'work_dirs/voc/psa/cam'
maps = 'work_dirs/voc/cam/labels'
labels = 'work_dirs/voc/psa/cam/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/psa/affinity_cam_voc.py')]
work_dir = 'work_dirs/voc/psa/cam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/psa/affinity_cam_voc.py'))
pseudo_labels = dict(out_dir='work_dirs/voc/psa/cam/deeplabv2/predictions')
report = dict(
    title='CAM and PSA on PASCAL VOC 2012: tags in, a trained segmentor out',
    out_dir='work_dirs/voc/psa/cam/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='CAM', labels=maps + '/labels', maps=maps + '/maps', curve=True, paper=dict(train=47.7)),
        dict(name='CAM, PSA', labels=labels + '/labels', maps=labels + '/maps', paper=dict(train=61.0)),
        dict(name='DeepLab-V2', labels=work + '/deeplabv2/predictions/labels', paper=dict(val=61.7))],
    paper_source='PSA (CVPR 2018) and its code, with a classifier and a segmentor on ResNet-38',
    stations=[
        ('weak labels', 'tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'PSA', 'sure areas, AffinityNet, 256 steps'),
        ('pseudo labels', 'PSALabels', 'background (1 - max)^16'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='CAM, PSA', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work + '/deeplabv2/predictions/labels')])
