# DeepLab-V2 (ResNet-101) on the labels of W-OoD, AdvCAM and RIB; the report compares the label sets of Table 4.7.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/wood/labels_advcam_rib'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/wood/labels_advcam_rib_voc.py')]
work_dir = 'work_dirs/voc/wood/deeplabv2_advcam_rib'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/wood/labels_advcam_rib_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='W-OoD, AdvCAM and RIB on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[
        dict(run='labels', config='configs/cam/classifier_voc.py'),
        dict(run='labels', config='configs/wood/classifier_voc.py'),
        dict(run='labels', config='configs/wood/labels_advcam_voc.py'),
        dict(run='labels', config='configs/wood/labels_rib_voc.py'), dict(run='labels')],
    paper_source="W-OoD in Lee's dissertation, Table 4.7",
    rows=[
        dict(name='CAM', labels='work_dirs/voc/cam/labels/labels', paper=dict(train=49.5)),
        dict(name='W-OoD', labels='work_dirs/voc/wood/labels/labels', paper=dict(train=53.3)),
        dict(name='W-OoD, AdvCAM', labels='work_dirs/voc/wood/labels_advcam/labels', paper=dict(train=59.1)),
        dict(name='W-OoD, RIB', labels='work_dirs/voc/wood/labels_rib/labels', paper=dict(train=56.8)),
        dict(name='W-OoD, AdvCAM, RIB', labels=labels + '/labels', paper=dict(train=60.7)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels')],
    stations=[
        ('weak labels', 'tags', 'no box and no mask is seen in training'),
        ('classifier', 'GAPHead', 'ResNet-50, trained on beside out-of-distribution images'),
        ('localization', 'AdvCAM in RIB', '27 steps at three of ten weights, four scales and flips'),
        ('pseudo labels', 'ClassMapLabels', 'constant background .27'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='W-OoD, AdvCAM, RIB', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
