# FickleNet's segmentor (CVPR 2019), step 1: DSRG on FickleNet's maps.
_base_ = './seeded_voc.py'
cues = 'work_dirs/voc/dsrg_ficklenet/cues'
prerequisites = [
    dict(run='data', kind='voc', root='data/VOCdevkit/VOC2012'),
    dict(run='labels', config='configs/dsrg/cues_ficklenet_voc.py')]
work_dir = 'work_dirs/voc/dsrg_ficklenet/seeded'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/dsrg/cues_ficklenet_voc.py'))
pseudo_labels = dict(out_dir='work_dirs/voc/dsrg_ficklenet/labels')
