# DeepLab-V2 on the labels of IRN from CAM's class maps, PASCAL VOC 2012. Paper: 63.5 mIoU on val, of a ResNet-50.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/irn/cam/labels'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/irn/affinity_cam_voc.py')]
work_dir = 'work_dirs/voc/irn/cam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_cam_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    title='CAM and IRN on PASCAL VOC 2012: tags in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='class maps', labels='work_dirs/voc/cam/labels/labels', paper=dict(train=48.3)),
        dict(name='CAM, IRN', labels=labels + '/labels', paper=dict(train=66.3)),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=63.5))],
    paper_source='dissertation of J. Lee for IRN (ResNet-50); VWE (IJCAI 2021), Table 2, for CAM',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=[
        dict(row='CAM, IRN', split='train', worst=6, best=6, maps=labels + '/maps'),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
