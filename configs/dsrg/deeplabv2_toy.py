# DSRG, step 2, on toy VOC: the network of step 1 learns from its own predictions, with plain cross-entropy.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
cues = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/cues'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/labels'
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/dsrg/seeded_toy.py'),
    dict(run='labels', config='configs/dsrg/seeded_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/deeplabv2'
load_from = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/seeded/final.pth'
model = dict(decode_head=dict(
    _delete_=True, type='wsss_mm.ASPPBranchHead', in_channels=96, in_index=-1, channels=64, num_classes=7,
    rates=(1, 3, 6, 9), dropout_ratio=0.,
    loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)))
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/dsrg/seeded_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/deeplabv2/predictions')
report = dict(
    title='DSRG on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='CAM', labels=world + '/cam/labels/labels', maps=world + '/cam/labels/maps', curve=True),
        dict(name='cues', labels=cues + '/labels'),
        dict(name='step 1, CRF', labels=labels + '/labels'),
        dict(name='DeepLab-V2, step 2', labels=world + '/dsrg/deeplabv2/predictions/labels', paper=dict(val=59.0))],
    paper_source='DSRG (CVPR 2018), PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('pseudo labels', 'SeedCues', 'the highest and the lowest of the maps'),
        ('segmentor', 'DeepLab-V2', 'grown seeds, then its own predictions')],
    protocol={
        'training seed': '0', 'toy world': '{{$TOY_WORLD:0}}', 'test of DeepLab-V2': 'one scale, no flip, no CRF',
        'cues': 'scored where they are: pixels without a cue are left out',
        'step 1': 'among the classes of the tags, also on val'},
    gallery=dict(
        row='DeepLab-V2, step 2', maps=world + '/cam/labels/maps', labels=labels + '/labels',
        prediction=world + '/dsrg/deeplabv2/predictions/labels'))
