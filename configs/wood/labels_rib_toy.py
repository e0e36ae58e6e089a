# RIB with W-OoD's classifier, toy VOC. The settings are the toy's, for a CPU: one scale, 8 other images and a rate for
# a small net; published are scales 1, .5, 1.5, 2, 20 images and 8e-6 for a ResNet-50 (labels_rib_voc.py).
_base_ = './classifier_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/wood/labels_rib',
    generator=dict(
        threshold=.2,
        localizer=dict(
            _delete_=True, type='wsss_mm.RIB', steps=10, lr=3e-4,
            trained=('backbone.layer2', 'backbone.layer3', 'head'), target_scales=(1., ), ratio=.4, stop_logit=600.,
            stop_area=.7, auxiliary=8, dataset={{_base_.train_dataloader.dataset.dataset}}, num_workers=0,
            localizer=dict(
                type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., ), flip=True,
                align16=False))))
