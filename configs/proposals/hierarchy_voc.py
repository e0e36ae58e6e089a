# Mask proposals of VOC's training images, from their pixels alone, where MCG's are not at hand.
_base_ = ['../_base_/voc12_boxes.py', '../_base_/default_runtime.py']
prerequisites = [{{_base_.voc_data}}]
pseudo_labels = dict(
    out_dir='work_dirs/voc/proposals/hierarchy',
    num_workers=8,
    dataset=dict(
        type='wsss_mm.WeakVOCDataset', data_root={{_base_.data_root}}, test_mode=True,
        pipeline={{_base_.box_pipeline}}, ann_file='ImageSets/Segmentation/trainaug.txt'),
    generator=dict(
        type='wsss_mm.ProposalFiles',
        proposals=dict(
            type='wsss_mm.HierarchyProposals', partition='felzenszwalb', segments=600, colour_weights=(.1, .5, .9),
            unions=True, max_proposals=2000)))
