# DeepLab-V2 (ResNet-101) on W-OoD's labels. The dissertation refines labels first (IRN), and has no segmentor on these.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/wood/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/wood/classifier_voc.py')]
work_dir = 'work_dirs/voc/wood/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/wood/classifier_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='W-OoD on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source="W-OoD in Lee's dissertation, Table 4.1",
    rows=[
        dict(name='class maps', labels=labels + '/labels', paper=dict(train=53.3)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'ResNet-50, trained on beside out-of-distribution images'),
        ('localization', 'CAM', 'four scales and flips'),
        ('pseudo labels', 'ClassMapLabels', 'constant background .12'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='class maps', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
