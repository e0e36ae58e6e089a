# Cues for DSRG from FickleNet's saved maps, PASCAL VOC 2012 train_aug. The maps are (1 + mean) / 2 where any pass is
# above theta and 0 elsewhere, so any share below .5 of a maximum takes what the paper takes; of several classes the one
# of the largest mean. Saliency as in cues_voc.py.
_base_ = '../_base_/voc12_tags.py'
data_root = {{_base_.data_root}}
default_scope = 'mmseg'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/ficklenet/classifier_voc.py')]
pseudo_labels = dict(
    out_dir='work_dirs/voc/dsrg_ficklenet/cues',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root=data_root, ann_file='ImageSets/Segmentation/trainaug.txt',
        test_mode=True, pipeline={{_base_.tag_pipeline}}),
    generator=dict(
        type='wsss_mm.SeedCues', map_dir='work_dirs/voc/ficklenet/labels/maps', foreground=.25, conflicts='best',
        background=dict(kind='prior', folder='data/VOCdevkit/VOC2012/saliency', below=.06)))
