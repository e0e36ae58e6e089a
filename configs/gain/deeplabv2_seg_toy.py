# GAIN's own segmentor on toy VOC: L_seg on the cues and L_cl on the mean logits.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
cues = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_sec/cues'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/gain_sec/cues_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain/deeplabv2_seg'
model = dict(
    type='wsss_mm.SeededSegmentor', seed_losses=[dict(type='wsss_mm.GAINSegLoss', seg_weight=1., cl_weight=1.)])
train_dataloader = dict(
    dataset=dict(
        box_dir='Annotations',   # tags
        label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/gain_sec/cues_toy.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='wsss_mm.MarkValid'),   # what a crop pads is not "no cue"
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain/deeplabv2_seg/predictions')
report = dict(
    title='GAIN on toy VOC: image tags in, its own segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain/deeplabv2_seg/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='GAIN', labels=world + '/gain/labels/labels', maps=world + '/gain/labels/maps', curve=True),
        dict(name='cues', labels=cues + '/labels'),
        dict(
            name='DeepLab, L_cl + L_seg', labels=world + '/gain/deeplabv2_seg/predictions/labels',
            paper=dict(val=59.4))],
    paper_source='GAIN (TPAMI 2020), Table 1, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'attention mining'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'SeedCues', 'the highest and the lowest of the maps'),
        ('segmentor', 'DeepLab-V2', 'L_cl + L_seg')],
    gallery=dict(
        row='DeepLab, L_cl + L_seg', maps=world + '/gain/labels/maps', labels=cues + '/labels',
        prediction=world + '/gain/deeplabv2_seg/predictions/labels'))
