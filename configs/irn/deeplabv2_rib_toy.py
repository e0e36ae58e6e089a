# DeepLab-V2 on the labels of IRN from RIB's class maps, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/rib/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/irn/affinity_rib_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/rib/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_rib_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/rib/deeplabv2/predictions')
report = dict(
    title='RIB and IRN on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/rib/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='RIB', labels=world + '/rib/labels/labels',
             maps=world + '/rib/labels/maps', curve=True, paper=dict(train=56.5)),
        dict(name='RIB, IRN', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=70.6)),
        dict(name='DeepLab-V2', labels=world + '/irn/rib/deeplabv2/predictions/labels', paper=dict(val=68.3))],
    paper_source='RIB (NeurIPS 2021), PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'RIB', '10 steps on every image, 1 scale, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/irn/rib/deeplabv2/predictions/labels'))
