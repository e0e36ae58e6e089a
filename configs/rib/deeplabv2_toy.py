# DeepLab-V2 on RIB's labels, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/rib/labels'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/rib/labels_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/rib/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/rib/labels_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/rib/deeplabv2/predictions')
report = dict(
    title='RIB on toy VOC: image tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/rib/deeplabv2/report',
    needs=[
        dict(run='labels'),
        dict(
            run='trace', config='configs/rib/labels_toy.py', out=world + '/rib/steps', images=60,
            split='ImageSets/Segmentation/train.txt', name='GNDRP', variant=[
                'GAP: generator.localizer.pooling=gap', 'GNDRP, rate 1e-3: generator.localizer.lr=1e-3',
                'GAP, rate 1e-3: generator.localizer.pooling=gap generator.localizer.lr=1e-3'])],
    figures=[
        dict(
            title='mIoU per iteration', path=world + '/rib/steps.png',
            caption='60 images of train, at the threshold that is best for each iteration. The rate of the labels is 3e-4.')],
    rows=[
        dict(name='RIB', labels=labels + '/labels', maps=labels + '/maps', curve=True, paper=dict(train=56.5)),
        dict(name='DeepLab-V2', labels=world + '/rib/deeplabv2/predictions/labels')],
    paper_source='RIB (NeurIPS 2021), class maps on PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'RIB', '10 steps on every image, 1 scale, flip'),
        ('pseudo labels', 'threshold', 'constant background'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=world + '/rib/deeplabv2/predictions/labels'))
