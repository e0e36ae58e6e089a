# What deeplabv2_toy.py is compared with: the same cues and cross-entropy, without the energy.
_base_ = './deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dense_energy/plain'
model = dict(seed_losses=[dict(type='wsss_mm.GAINSegLoss', seg_weight=1., cl_weight=0.)])
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dense_energy/plain/predictions')
report = dict(
    title='Cues alone on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dense_energy/plain/report',
    rows=[
        dict(name='CAM', labels=world + '/cam/labels/labels', maps=world + '/cam/labels/maps', curve=True),
        dict(name='DeepLab-V2', labels=world + '/dense_energy/plain/predictions/labels')],
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'SeedCues', 'the highest and the lowest of the maps'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(row='DeepLab-V2', prediction=world + '/dense_energy/plain/predictions/labels'))
