# The mask proposal that fits a box best. MCG's files instead: dict(type='wsss_mm.MaskProposals', folder='data/mcg').
# PASCAL VOC 2012 train_aug.
_base_ = ['../_base_/voc12_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.voc_data}}, {{_base_.voc_instances}}]
pseudo_labels = dict(
    out_dir='work_dirs/voc/box_baselines/instances_proposal',
    num_workers=8,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.BestProposalInstances',
        ann_file='data/VOCdevkit/VOC2012/annotations/boxes_trainaug.json',
        proposals=dict(
            type='wsss_mm.HierarchyProposals', partition='felzenszwalb', segments=600, colour_weights=(.1, .5, .9),
            unions=True, max_proposals=2000)))
