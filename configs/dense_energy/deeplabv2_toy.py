# DeepLab-V2 on SEC's cues from CAM, with the dense CRF's energy as a second loss, toy VOC. How it is trained on cues is
# GAIN's segmentor's way, without its loss on tags.
_base_ = '../gain/deeplabv2_seg_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
cues = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/cues'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/sec/cues_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dense_energy/deeplabv2'
model = dict(seed_losses=[
    dict(type='wsss_mm.GAINSegLoss', seg_weight=1., cl_weight=0.),   # cross-entropy on the cues
    dict(type='wsss_mm.DenseEnergyLoss', weight=1., filter=dict(
        type='wsss_mm.BilateralFilter', xy=4, rgb=6, kernel='lattice'))])
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/sec/cues_toy.py'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dense_energy/deeplabv2/predictions')
report = dict(
    title='Dense energy on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dense_energy/deeplabv2/report',
    rows=[
        dict(name='CAM', labels=world + '/cam/labels/labels', maps=world + '/cam/labels/maps', curve=True),
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab-V2 + dense energy', labels=world + '/dense_energy/deeplabv2/predictions/labels')],
    paper_source='no figure of the paper is of these cues',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'SeedCues', 'the highest and the lowest of the maps'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy and dense energy')],
    protocol={
        'training seed': '0', 'toy world': '{{$TOY_WORLD:0}}', 'test of DeepLab-V2': 'one scale, no flip, no CRF',
        'cues': 'scored where they are: pixels without a cue are left out'},
    gallery=dict(
        row='DeepLab-V2 + dense energy', maps=world + '/cam/labels/maps', labels=cues + '/labels',
        prediction=world + '/dense_energy/deeplabv2/predictions/labels'))
