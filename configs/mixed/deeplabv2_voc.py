# DeepLab-V2 (ResNet-101) on the labels of mixed supervision.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/mixed/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/mixed/classifier_voc.py')]
work_dir = 'work_dirs/voc/mixed/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/mixed/classifier_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='Mixed supervision on PASCAL VOC 2012: tags, boxes and masks in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='no paper: the combination is this package\'s own',
    rows=[
        dict(name='labels', labels=labels + '/labels'),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    stations=[
        ('weak labels', 'tags, boxes, masks', '9,118, 1,264 and 200 images'),
        ('classifier', 'MixedHead', 'VGG-16; a segmentation branch'),
        ('localization', 'softmax, u_0 and u_c', 'by what the image carries'),
        ('pseudo labels', 'MixedLabels', 'masks as they are'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='labels', split='train', worst=6, best=6),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
