# DeepLab-V2 on the labels of W-OoD, AdvCAM and RIB, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels_advcam_rib'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/wood/labels_advcam_rib_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/deeplabv2_advcam_rib'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/wood/labels_advcam_rib_toy.py'))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/deeplabv2_advcam_rib/predictions')
report = dict(
    title='W-OoD, AdvCAM and RIB on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/deeplabv2_advcam_rib/report',
    needs=[
        dict(run='labels', config='configs/cam/classifier_toy.py'),
        dict(run='labels', config='configs/wood/classifier_toy.py'),
        dict(run='labels', config='configs/wood/labels_advcam_toy.py'),
        dict(run='labels', config='configs/wood/labels_rib_toy.py'), dict(run='labels')],
    rows=[
        dict(name='CAM', labels=world + '/cam/labels/labels', maps=world + '/cam/labels/maps', paper=dict(train=49.5)),
        dict(
            name='W-OoD', labels=world + '/wood/labels/labels', maps=world + '/wood/labels/maps',
            paper=dict(train=53.3)),
        dict(
            name='W-OoD, AdvCAM', labels=world + '/wood/labels_advcam/labels', maps=world + '/wood/labels_advcam/maps',
            paper=dict(train=59.1)),
        dict(
            name='W-OoD, RIB', labels=world + '/wood/labels_rib/labels', maps=world + '/wood/labels_rib/maps',
            paper=dict(train=56.8)),
        dict(
            name='W-OoD, AdvCAM, RIB', labels=labels + '/labels', maps=labels + '/maps', curve=True,
            paper=dict(train=60.7)),
        dict(name='DeepLab-V2', labels=world + '/wood/deeplabv2_advcam_rib/predictions/labels')],
    paper_source="W-OoD in Lee's dissertation, Table 4.7, class maps on PASCAL VOC 2012",
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'trained on beside images without objects'),
        ('localization', 'AdvCAM in RIB', '10 steps of 10, 1 scale, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/wood/deeplabv2_advcam_rib/predictions/labels'))
