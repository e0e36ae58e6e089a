# DeepLab-V2 on GPP's labels, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gpp/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/gpp/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gpp/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/gpp/classifier_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gpp/deeplabv2/predictions')
report = dict(
    title='GPP on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gpp/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='GPP', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=54.2)),
        dict(name='DeepLab-V2', labels=world + '/gpp/deeplabv2/predictions/labels')],
    paper_source='AEFT (ECCV 2022), Table 1, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GPPHead', 'gated pyramid pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=world + '/gpp/deeplabv2/predictions/labels'))
