# GAIN-SEC on toy VOC: SEC's training on cues from GAIN's attention.
_base_ = '../sec/deeplabv1_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
cues = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_sec/cues'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/gain_sec/cues_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_sec/deeplabv1'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/gain_sec/cues_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_sec/deeplabv1/predictions')
report = dict(
    title='GAIN-SEC on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_sec/deeplabv1/report',
    rows=[
        dict(name='GAIN', labels=world + '/gain/labels/labels', maps=world + '/gain/labels/maps', curve=True),
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab-V1', labels=world + '/gain_sec/deeplabv1/predictions/labels', paper=dict(val=55.3))],
    paper_source='GAIN (TPAMI 2020), Table 1, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'attention mining'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'SeedCues', 'the highest and the lowest of the maps'),
        ('segmentor', 'DeepLab-V1', 'seed, expand, constrain')],
    gallery=dict(
        row='DeepLab-V1', maps=world + '/gain/labels/maps', labels=cues + '/labels',
        prediction=world + '/gain_sec/deeplabv1/predictions/labels'))
