# DeepLab-V2 on HSPP's labels, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/hspp/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/hspp/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/hspp/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/hspp/classifier_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/hspp/deeplabv2/predictions')
report = dict(
    title='HSPP on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/hspp/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='HSPP', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=50.6, val=50.0)),
        dict(name='DeepLab-V2', labels=world + '/hspp/deeplabv2/predictions/labels')],
    paper_source='VWE (IJCAI 2021), Table 1, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'HSPPHead', 'hybrid pyramid pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=world + '/hspp/deeplabv2/predictions/labels'))
