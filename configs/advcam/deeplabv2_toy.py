# DeepLab-V2 on AdvCAM's labels, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/advcam/labels_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/advcam/labels_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/deeplabv2/predictions')
report = dict(
    title='AdvCAM on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/deeplabv2/report',
    needs=[
        dict(run='labels'),
        dict(
            run='trace', config='configs/advcam/labels_toy.py', out=world + '/advcam/steps', images=60,
            split='ImageSets/Segmentation/train.txt', name='regularisation .5, 10 steps: the labels', variant=[
                'regularisation .5: generator.localizer.localizer.steps=40',
                'none: generator.localizer.localizer.steps=40 generator.localizer.localizer.regularization=0',
                '7: generator.localizer.localizer.steps=40 generator.localizer.localizer.regularization=7'])],
    figures=[
        dict(
            title='mIoU per step of the climb', path=world + '/advcam/steps.png',
            caption='60 images of train, at the threshold that is best for each step.')],
    rows=[
        dict(name='AdvCAM', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=55.6)),
        dict(name='DeepLab-V2', labels=world + '/advcam/deeplabv2/predictions/labels')],
    paper_source='dissertation of J. Lee, Table 3.1, class maps, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'AdvCAM', '10 steps, 1 scale, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=world + '/advcam/deeplabv2/predictions/labels'))
