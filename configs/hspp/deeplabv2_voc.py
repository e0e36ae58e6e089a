# DeepLab-V2 (ResNet-101) on the labels of hybrid spatial pyramid pooling. The paper has no segmentor of it.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/hspp/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/hspp/classifier_voc.py')]
work_dir = 'work_dirs/voc/hspp/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/hspp/classifier_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='HSPP on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='VWE (IJCAI 2021), Table 1',
    rows=[
        dict(name='class maps', labels=labels + '/labels', paper=dict(train=50.6)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'HSPPHead', 'ResNet-50, hybrid pyramid pooling'),
        ('localization', 'CAM', 'four scales and flips'),
        ('pseudo labels', 'ClassMapLabels', 'constant background .14'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='class maps', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
