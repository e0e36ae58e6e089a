# DeepLab-V2 (ResNet-101) on GAIN's labels. Paper: 59.4 mIoU on val, with background cues from saliency
# and a training of DeepLab of its own.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/gain/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/gain/classifier_voc.py')]
work_dir = 'work_dirs/voc/gain/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/gain/classifier_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='GAIN on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='GAIN (TPAMI 2020), Table 1, with background cues from saliency and a training of its own',
    rows=[
        dict(name='attention', labels=labels + '/labels'),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=59.4))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'VGG-16, attention mining'),
        ('localization', 'GradCAM', 'one scale'),
        ('pseudo labels', 'ClassMapLabels', 'constant background .2'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='attention', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
