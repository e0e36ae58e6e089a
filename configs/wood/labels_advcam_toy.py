# AdvCAM with W-OoD's classifier, toy VOC. The settings are those of advcam/labels_toy.py, for a CPU: one scale,
# ten steps and a regularisation for the toy's maps; published are four scales, 27 steps and 7 (labels_advcam_voc.py).
_base_ = './classifier_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels_advcam',
    batch_size=8,
    generator=dict(
        threshold=.2,
        localizer=dict(
            scales=(1., ),
            localizer=dict(
                _delete_=True, type='wsss_mm.AdvCAM', steps=10, step_size=.08, regularization=.5,
                mask_threshold=.5))))
