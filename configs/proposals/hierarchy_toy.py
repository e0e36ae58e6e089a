# Mask proposals of the toy's images, from their pixels alone.
_base_ = ['../_base_/toy_voc.py', '../_base_/default_runtime.py']
prerequisites = [{{_base_.toy_data}}]
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/proposals/hierarchy',
    num_workers=2,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root={{_base_.data_root}}, test_mode=True,
        pipeline={{_base_.box_pipeline}}, ann_file='ImageSets/Segmentation/train.txt'),
    generator=dict(
        type='wsss_mm.ProposalFiles',
        proposals=dict(
            type='wsss_mm.HierarchyProposals', partition='felzenszwalb', segments=600, colour_weights=(.1, .5, .9),
            unions=True, max_proposals=2000)))
