# AdvCAM on toy VOC: class maps of CAM's classifier while the image climbs. One scale and 10 steps, for a CPU; published
# are four scales, 27 steps and a regularisation of 7. That acts in proportion to positions by channels: here 24 x 24
# and 96, for VOC at its own size 24 x 32 and 2,048, so .5 is about as strong as 7 there.
_base_ = '../cam/classifier_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/advcam/labels',
    batch_size=8,
    generator=dict(
        threshold=.25,
        localizer=dict(
            localizer=dict(type='wsss_mm.AdvCAM', steps=10, step_size=.08, regularization=.5, mask_threshold=.5),
            scales=(1., ))))
