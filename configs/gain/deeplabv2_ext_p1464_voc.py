# DeepLab-V2 (ResNet-101) on the labels of GAIN_ext with masks of 1,464 images.
_base_ = './deeplabv2_voc.py'
labels = 'work_dirs/voc/gain_ext_p1464/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/gain/classifier_ext_p1464_voc.py')]
work_dir = 'work_dirs/voc/gain_ext_p1464/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/gain/classifier_ext_p1464_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='GAIN_ext with masks of 1,464 images on PASCAL VOC 2012',
    out_dir=work_dir + '/report',
    rows=[
        dict(name='attention', labels=labels + '/labels'),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=64.1))],
    stations=[
        ('weak labels', 'tags', 'and masks of 1,464 images'),
        ('classifier', 'GAPHead', 'VGG-16, attention mining and supervision'),
        ('localization', 'GradCAM', 'one scale'),
        ('pseudo labels', 'ClassMapLabels', 'constant background .2'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='attention', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
