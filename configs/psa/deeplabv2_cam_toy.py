# DeepLab-V2 on CAM's class maps after PSA's walk, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
work = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam'
maps = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/labels'
prerequisites = [
    {{_base_.toy_data}}, dict(run='labels', config='configs/psa/affinity_cam_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/psa/affinity_cam_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/deeplabv2/predictions')
report = dict(
    title='CAM and PSA on toy VOC: tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/cam/deeplabv2/report',
    needs=[dict(run='labels', config='configs/cam/labels_crf_toy.py'), dict(run='labels')],
    rows=[
        dict(name='CAM', labels=maps + '/labels', maps=maps + '/maps', curve=True, paper=dict(train=47.7)),
        dict(name='CAM, CRF', labels=maps + '_crf/labels'),
        dict(name='CAM, PSA', labels=labels + '/labels', maps=labels + '/maps', paper=dict(train=61.0)),
        dict(name='DeepLab-V2', labels=work + '/deeplabv2/predictions/labels', paper=dict(val=61.7))],
    paper_source='PSA (CVPR 2018) and its code, with a classifier and a segmentor on ResNet-38',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'PSA', 'sure areas, AffinityNet, 256 steps'),
        ('pseudo labels', 'PSALabels', 'background (1 - max)^16'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=work + '/deeplabv2/predictions/labels'))
