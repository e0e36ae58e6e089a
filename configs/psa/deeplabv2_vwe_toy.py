# DeepLab-V2 on VWE's class maps after PSA's walk, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
work = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/vwe'
maps = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/vwe/labels'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/vwe/labels'
prerequisites = [
    {{_base_.toy_data}}, dict(run='labels', config='configs/psa/affinity_vwe_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/vwe/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/psa/affinity_vwe_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/vwe/deeplabv2/predictions')
report = dict(
    title='VWE and PSA on toy VOC: tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/vwe/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='VWE', labels=maps + '/labels', maps=maps + '/maps', curve=True, paper=dict(train=52.9)),
        dict(name='VWE, PSA', labels=labels + '/labels', maps=labels + '/maps'),
        dict(name='DeepLab-V2', labels=work + '/deeplabv2/predictions/labels')],
    paper_source='VWE (IJCAI 2021), Table 1, PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'HSPPHead', 'HSPP and visual words'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'PSA', 'sure areas, AffinityNet, 256 steps'),
        ('pseudo labels', 'PSALabels', 'background (1 - max)^16'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=work + '/deeplabv2/predictions/labels'))
