# AdvCAM with W-OoD's classifier, toy VOC. The settings are the toy's, for a CPU: one scale, 10 steps; published are
# scales 1, .5, 1.5, 2 and 27 steps (labels_advcam_voc.py).
_base_ = './classifier_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels_advcam',
    generator=dict(
        threshold=.25,
        localizer=dict(
            scales=(1., ),
            localizer=dict(
                _delete_=True, type='wsss_mm.AdvCAM', steps=10, step_size=.08, regularization=7.,
                mask_threshold=.5))))
