# DeepLab-V2 (ResNet-101) on AEFT's labels. Paper: 70.9 mIoU on val, after a random walk on the labels, with
# DeepLab-LargeFOV on ResNet-38.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/aeft/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/aeft/classifier_voc.py')]
work_dir = 'work_dirs/voc/aeft/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/aeft/classifier_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='AEFT on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source='AEFT (ECCV 2022), Tables 2, 4 and 5; the segmentor after a random walk, on ResNet-38',
    rows=[
        dict(name='class maps, CRF', labels=labels + '/labels', paper=dict(train=63.5)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=70.9))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GPPHead', 'ResNet-38, erasing triplet'),
        ('localization', 'CAM', 'four scales and flips'),
        ('refinement', 'DenseCRF', 'Potts, 10 iterations'),
        ('pseudo labels', 'ClassMapLabels', 'background (1 - max)^9'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='class maps, CRF', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
