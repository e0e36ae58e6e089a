# DeepLab-V2 (ResNet-101) on the labels of W-OoD and AdvCAM. Paper: 69.8 mIoU on val, after IRN on the labels.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/wood/labels_advcam'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/wood/labels_advcam_voc.py')]
work_dir = 'work_dirs/voc/wood/deeplabv2_advcam'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/wood/labels_advcam_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='W-OoD and AdvCAM on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    paper_source="W-OoD in Lee's dissertation, Tables 4.1 and 4.3; the segmentor after IRN",
    rows=[
        dict(name='class maps', labels=labels + '/labels', paper=dict(train=59.1)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=69.8))],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'ResNet-50, trained on beside out-of-distribution images'),
        ('localization', 'AdvCAM', '27 steps, four scales and flips'),
        ('pseudo labels', 'ClassMapLabels', 'constant background .25'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='class maps', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
