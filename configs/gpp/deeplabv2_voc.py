# DeepLab-V2 (ResNet-101) on the labels of gated pyramid pooling. The paper has no segmentor of it.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/gpp/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/gpp/classifier_voc.py')]
work_dir = 'work_dirs/voc/gpp/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/gpp/classifier_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='GPP on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='the paper has no figure after a CRF',
    rows=[
        dict(name='class maps, CRF', labels=labels + '/labels'),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GPPHead', 'ResNet-38, gated pyramid pooling'),
        ('localization', 'CAM', 'four scales and flips'),
        ('refinement', 'DenseCRF', 'Potts, 10 iterations'),
        ('pseudo labels', 'ClassMapLabels', 'background (1 - max)^9'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='class maps, CRF', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
