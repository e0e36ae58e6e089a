# The mask proposal that fits a box best. MCG's files instead: dict(type='wsss_mm.MaskProposals', folder='data/mcg').
# Toy VOC.
_base_ = ['../_base_/toy_detection.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'
prerequisites = [{{_base_.toy_data}}, {{_base_.toy_instances}}]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/instances_proposal',
    num_workers=2,
    dataset={{_base_.labelled_boxes}},
    generator=dict(
        type='wsss_mm.BestProposalInstances',
        ann_file='data/toy_voc/{{$TOY_PROFILE:boxes}}_world{{$TOY_WORLD:0}}/annotations/boxes_train.json',
        proposals=dict(
            type='wsss_mm.HierarchyProposals', partition='felzenszwalb', segments=600, colour_weights=(.1, .5, .9),
            unions=True, max_proposals=2000)))
