# DeepLab-V2 on the labels of GAIN_ext with masks and boxes, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_pb/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/gain/classifier_ext_pb_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_pb/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/gain/classifier_ext_pb_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_pb/deeplabv2/predictions')
report = dict(
    title='GAIN_ext (masks and boxes) on toy VOC: tags of all, more of a few, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_pb/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='GAIN_ext', labels=labels + '/labels', maps=labels + '/maps', curve=True),
        dict(name='DeepLab-V2', labels=world + '/gain_ext_pb/deeplabv2/predictions/labels')],
    paper_source='GAIN (TPAMI 2020) gives no score of its attention maps',
    stations=[
        ('weak labels', 'image tags', 'and masks and boxes of 56 images'),
        ('classifier', 'GAPHead', 'attention mining and supervision'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=world + '/gain_ext_pb/deeplabv2/predictions/labels'))
