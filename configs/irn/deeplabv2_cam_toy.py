# DeepLab-V2 on the labels of IRN from CAM's class maps, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/irn/affinity_cam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_cam_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/deeplabv2/predictions')
report = dict(
    title='CAM and IRN on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/deeplabv2/report',
    needs=[dict(run='labels', config='configs/cam/labels_crf_toy.py'), dict(run='labels')],
    rows=[
        dict(name='CAM', labels=world + '/cam/labels/labels',
             maps=world + '/cam/labels/maps', curve=True, paper=dict(train=48.3)),
        dict(name='CAM, CRF', labels=world + '/cam/labels_crf/labels'),
        dict(name='CAM, IRN', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=66.3)),
        dict(name='DeepLab-V2', labels=world + '/irn/cam/deeplabv2/predictions/labels', paper=dict(val=63.5))],
    paper_source='dissertation of J. Lee for IRN (ResNet-50); VWE (IJCAI 2021), Table 2, for CAM, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/irn/cam/deeplabv2/predictions/labels'))
