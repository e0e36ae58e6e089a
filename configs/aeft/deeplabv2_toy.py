# DeepLab-V2 on AEFT's labels, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/aeft/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/aeft/classifier_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/deeplabv2/predictions')
report = dict(
    title='AEFT on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='AEFT', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=56.0)),
        dict(name='DeepLab-V2', labels=world + '/aeft/deeplabv2/predictions/labels')],
    paper_source='AEFT (ECCV 2022), Table 2, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GPPHead', 'GPP and the erasing triplet'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=world + '/aeft/deeplabv2/predictions/labels'))
