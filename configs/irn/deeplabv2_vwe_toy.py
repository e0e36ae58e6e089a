# DeepLab-V2 on the labels of IRN from VWE's class maps, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/vwe/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/irn/affinity_vwe_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/vwe/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_vwe_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/vwe/deeplabv2/predictions')
report = dict(
    title='VWE and IRN on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/vwe/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='VWE', labels=world + '/vwe/labels/labels',
             maps=world + '/vwe/labels/maps', curve=True, paper=dict(train=52.9)),
        dict(name='VWE, IRN', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=67.7)),
        dict(name='DeepLab-V2', labels=world + '/irn/vwe/deeplabv2/predictions/labels', paper=dict(val=67.2))],
    paper_source='VWE (IJCAI 2021), Tables 1 to 3, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'HSPPHead', 'HSPP and visual words'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/irn/vwe/deeplabv2/predictions/labels'))
