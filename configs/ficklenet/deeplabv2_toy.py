# DeepLab-V2 on FickleNet's labels, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/ficklenet/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/ficklenet/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/ficklenet/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/ficklenet/classifier_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/ficklenet/deeplabv2/predictions')
report = dict(
    title='FickleNet on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/ficklenet/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='FickleNet', labels=labels + '/labels', maps=labels + '/maps', curve=True),
        dict(name='DeepLab-V2', labels=world + '/ficklenet/deeplabv2/predictions/labels')],
    paper_source='FickleNet (CVPR 2019); no score of its maps is known',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'StochasticHead', '5 x 5, nine of ten units dropped'),
        ('localization', 'StochasticCAM', '50 passes, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=world + '/ficklenet/deeplabv2/predictions/labels'))
