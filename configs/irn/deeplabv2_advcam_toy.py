# DeepLab-V2 on the labels of IRN from AdvCAM's class maps, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/advcam/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/irn/affinity_advcam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/advcam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_advcam_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/advcam/deeplabv2/predictions')
report = dict(
    title='AdvCAM and IRN on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/advcam/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='AdvCAM', labels=world + '/advcam/labels/labels',
             maps=world + '/advcam/labels/maps', curve=True, paper=dict(train=55.6)),
        dict(name='AdvCAM, IRN', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=69.9)),
        dict(name='DeepLab-V2', labels=world + '/irn/advcam/deeplabv2/predictions/labels', paper=dict(val=68.1))],
    paper_source='dissertation of J. Lee, Tables 3.1 and 3.2, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'AdvCAM', '10 steps, 1 scale, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/irn/advcam/deeplabv2/predictions/labels'))
