# AdvCAM and RIB with W-OoD's classifier, toy VOC: images climb at weights that RIB has fitted to them. No code of the
# combination is published; that maps are taken at the first, a middle and the last weights is a choice made here.
_base_ = './classifier_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels_advcam_rib',
    generator=dict(
        threshold=.25,
        localizer=dict(
            _delete_=True, type='wsss_mm.RIB', steps=10, lr=3e-4,
            trained=('backbone.layer2', 'backbone.layer3', 'head'), target_scales=(1., ), ratio=.4, stop_logit=600.,
            stop_area=.7, auxiliary=8, dataset={{_base_.train_dataloader.dataset.dataset}}, num_workers=0,
            map_steps=(0, 4, 9),
            localizer=dict(
                type='wsss_mm.MultiScale', scales=(1., ), flip=True, align16=False,
                localizer=dict(
                    type='wsss_mm.AdvCAM', steps=10, step_size=.08, regularization=.5, mask_threshold=.5)))))
