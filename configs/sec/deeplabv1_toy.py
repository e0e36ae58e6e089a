# SEC on toy VOC: a segmentor from cues, image tags and a CRF. For maps of 24 x 24 the decays of rank pooling are those
# of VOC's 41 x 41 by the number of positions, and the CRF's widths those of toy images by the stride.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
cues = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/cues'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/sec/cues_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/deeplabv1'

model = dict(
    type='wsss_mm.SeededSegmentor',
    decode_head=dict(
        _delete_=True, type='wsss_mm.LargeFOVHead', in_channels=96, in_index=-1, num_classes=7, classifier='dot'),
    seed_losses=[dict(
        type='wsss_mm.SECLoss', decays=(.988, 0., .997),
        crf=dict(
            type='wsss_mm.BatchCRF', bilateral_weight=2, bilateral_xy=4, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=.5, iterations=10, kernel='exact'))])
train_dataloader = dict(
    dataset=dict(
        box_dir='Annotations',   # tags
        label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/sec/cues_toy.py',
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
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/deeplabv1/predictions')

# ---- table and HTML page after the last stage; the papers' figures are for PASCAL VOC
report = dict(
    title='SEC on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/sec/deeplabv1/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='CAM', labels=world + '/cam/labels/labels', maps=world + '/cam/labels/maps', curve=True),
        dict(name='cues', labels=cues + '/labels'),
        dict(name='DeepLab-V1', labels=world + '/sec/deeplabv1/predictions/labels', paper=dict(val=50.7))],
    paper_source='SEC (ECCV 2016), PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'SeedCues', 'the highest and the lowest of the maps'),
        ('segmentor', 'DeepLab-V1', 'seed, expand, constrain')],
    protocol={
        '_delete_': True, 'training seed': '0', 'toy world': '{{$TOY_WORLD:0}}',
        'test of DeepLab-V1': 'one scale, no flip, no CRF',
        'cues': 'scored where they are: pixels without a cue are left out'},
    gallery=dict(
        row='DeepLab-V1', split='val', worst=6, best=6, maps=world + '/cam/labels/maps', labels=cues + '/labels',
        prediction=world + '/sec/deeplabv1/predictions/labels'))
