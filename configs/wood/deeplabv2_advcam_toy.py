# DeepLab-V2 on the labels of W-OoD and AdvCAM, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels_advcam'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/wood/labels_advcam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/deeplabv2_advcam'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/wood/labels_advcam_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/deeplabv2_advcam/predictions')
report = dict(
    title='W-OoD and AdvCAM on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/deeplabv2_advcam/report',
    needs=[dict(run='labels')],
    rows=[
        dict(
            name='W-OoD, AdvCAM', labels=labels + '/labels', maps=labels + '/maps', curve=True,
            paper=dict(train=59.1)),
        dict(name='DeepLab-V2', labels=world + '/wood/deeplabv2_advcam/predictions/labels')],
    paper_source="W-OoD in Lee's dissertation, Table 4.7, class maps on PASCAL VOC 2012",
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'trained on beside images without objects'),
        ('localization', 'AdvCAM', '10 steps, 1 scale, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels',
        prediction=world + '/wood/deeplabv2_advcam/predictions/labels'))
