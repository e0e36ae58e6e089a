# DeepLab-V2 on the labels of IRN from AEFT's class maps, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/aeft/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/irn/affinity_aeft_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/aeft/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/irn/affinity_aeft_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/aeft/deeplabv2/predictions')
report = dict(
    title='AEFT and IRN on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/aeft/deeplabv2/report',
    needs=[dict(run='labels', config='configs/aeft/labels_crf_toy.py'), dict(run='labels')],
    rows=[
        dict(name='AEFT', labels=world + '/aeft/labels/labels',
             maps=world + '/aeft/labels/maps', curve=True, paper=dict(train=56.0)),
        dict(name='AEFT, CRF', labels=world + '/aeft/labels_crf/labels'),
        dict(name='AEFT, IRN', labels=labels + '/labels', maps=labels + '/maps', curve=True),
        dict(name='DeepLab-V2', labels=world + '/irn/aeft/deeplabv2/predictions/labels')],
    paper_source='AEFT (ECCV 2022), Table 2, class maps; the paper refines with AffinityNet, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GPPHead', 'GPP and the erasing triplet'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'IRNet', 'class boundaries from confident areas'),
        ('pseudo labels', 'IRNLabels', 'random walk up to the boundaries, constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/irn/aeft/deeplabv2/predictions/labels'))
