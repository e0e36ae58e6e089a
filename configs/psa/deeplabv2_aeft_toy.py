# DeepLab-V2 on AEFT's class maps after PSA's walk, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
work = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft'
maps = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/aeft/labels'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft/labels'
prerequisites = [
    {{_base_.toy_data}}, dict(run='labels', config='configs/psa/affinity_aeft_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/psa/affinity_aeft_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft/deeplabv2/predictions')
report = dict(
    title='AEFT and PSA on toy VOC: tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/aeft/deeplabv2/report',
    needs=[dict(run='labels', config='configs/aeft/labels_crf_toy.py'), dict(run='labels')],
    rows=[
        dict(name='AEFT', labels=maps + '/labels', maps=maps + '/maps', curve=True, paper=dict(train=56.0)),
        dict(name='AEFT, CRF', labels=maps + '_crf/labels', paper=dict(train=63.5)),
        dict(name='AEFT, PSA', labels=labels + '/labels', maps=labels + '/maps', paper=dict(train=71.0)),
        dict(name='DeepLab-V2', labels=work + '/deeplabv2/predictions/labels', paper=dict(val=70.9))],
    paper_source='AEFT (ECCV 2022), Tables 4 and 5; all on ResNet-38',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GPPHead', 'GPP and the erasing triplet'),
        ('localization', 'CAM', '4 scales, flip'),
        ('refinement', 'PSA', 'sure areas, AffinityNet, 64 steps, then one iteration of the CRF'),
        ('pseudo labels', 'PSALabels', 'background (1 - max)^16'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=work + '/deeplabv2/predictions/labels'))
