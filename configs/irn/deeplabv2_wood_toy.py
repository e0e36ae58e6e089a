# DeepLab-V2 on the labels of IRN from W-OoD's class maps, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/irn/affinity_wood_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_wood_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/deeplabv2/predictions')
report = dict(
    title='W-OoD and IRN on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/wood/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='W-OoD', labels=world + '/wood/labels/labels',
             maps=world + '/wood/labels/maps', curve=True, paper=dict(train=53.3)),
        dict(name='W-OoD, IRN', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=71.1)),
        dict(name='DeepLab-V2', labels=world + '/irn/wood/deeplabv2/predictions/labels')],
    paper_source='dissertation of J. Lee, chapter 4, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'and images of none of the classes'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/irn/wood/deeplabv2/predictions/labels'))
