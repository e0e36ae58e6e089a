# DeepLab-V2 (ResNet-101) on the labels of FickleNet with a ResNet-101 classifier.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/ficklenet_resnet101/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/ficklenet/classifier_resnet101_voc.py')]
work_dir = 'work_dirs/voc/ficklenet_resnet101/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/ficklenet/classifier_resnet101_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='FickleNet with a ResNet-101 classifier on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='FickleNet (CVPR 2019) as BANA (CVPR 2021) quotes it, with DSRG on ResNet-101 and saliency',
    rows=[
        dict(name='class maps', labels=labels + '/labels'),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=64.9))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'StochasticHead', 'ResNet-101, 9 x 9, nine of ten units dropped'),
        ('localization', 'StochasticCAM', '200 passes, one scale'),
        ('pseudo labels', 'ClassMapLabels', 'above .35 in any pass'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='class maps', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
