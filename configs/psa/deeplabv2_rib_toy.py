# DeepLab-V2 on RIB's class maps after PSA's walk, toy VOC.
_base_ = '../cam/deeplabv2_toy.py'
work = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/rib'
maps = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/rib/labels'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/rib/labels'
prerequisites = [
    {{_base_.toy_data}}, dict(run='labels', config='configs/psa/affinity_rib_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/rib/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/psa/affinity_rib_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/rib/deeplabv2/predictions')
report = dict(
    title='RIB and PSA on toy VOC: tags in, a trained segmentor out',
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/psa/rib/deeplabv2/report',
    needs=[dict(run='labels')],
    rows=[
        dict(name='RIB', labels=maps + '/labels', maps=maps + '/maps', curve=True, paper=dict(train=56.5)),
        dict(name='RIB, PSA', labels=labels + '/labels', maps=labels + '/maps', paper=dict(train=68.6)),
        dict(name='DeepLab-V2', labels=work + '/deeplabv2/predictions/labels')],
    paper_source='RIB (NeurIPS 2021), PASCAL VOC 2012',
    stations=[
        ('weak labels', 'image tags', 'no box or mask is seen in training'),
        ('classifier', 'GAPHead', 'global average pooling'),
        ('localization', 'RIB', '10 steps on every image'),
        ('refinement', 'PSA', 'sure areas, AffinityNet, 256 steps'),
        ('pseudo labels', 'PSALabels', 'background (1 - max)^16'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    gallery=dict(
        maps=labels + '/maps', labels=labels + '/labels', prediction=work + '/deeplabv2/predictions/labels'))
