# DeepLab-V2 on the labels of mixed supervision, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/mixed/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/mixed/classifier_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/mixed/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/mixed/classifier_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/mixed/deeplabv2/predictions')
report = dict(
    title='Mixed supervision on toy VOC: tags, boxes and masks in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/mixed/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='mixed', labels=labels + '/labels'),
        dict(name='DeepLab-V2', labels=world + '/mixed/deeplabv2/predictions/labels')],
    paper_source='no paper: the experiment is this package\'s own',
    stations=[
        ('weak labels', 'tags, boxes, masks', '288, 84 and 28 images'),
        ('classifier', 'MixedHead', 'GAP, BAP, masks; a segmentation branch'),
        ('localization', 'softmax, u_0 and u_c', 'by what the image carries'),
        ('pseudo labels', 'MixedLabels', 'masks as they are'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        _delete_=True, row='DeepLab-V2', split='val', worst=6, best=6,
        prediction=world + '/mixed/deeplabv2/predictions/labels'))
