# SimpleGrad of the proposals that BBAM explains, with BBAM's detector and grid, on toy VOC.
_base_ = '../bbam/faster-rcnn_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/box_baselines/maps_simplegrad',
    generator=dict(
        explainer=dict(
            _delete_=True, type='wsss_mm.RoISimpleGrad', scale=None, stride=(1.92, 5.76), max_positives=30,
            heads='both')))
