# RIB with W-OoD's classifier, the settings of RIB as published. Paper: 56.8 mIoU of the class maps on train.
_base_ = './classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/wood/labels_rib',
    generator=dict(
        threshold=.27,
        localizer=dict(
            _delete_=True, type='wsss_mm.RIB', steps=10, lr=8e-6, head_lr_mult=10., momentum=1e-4, weight_decay=1e-4,
            power=.9, trained=('backbone.layer3', 'backbone.layer4', 'head'), target_scales=(1., 1.5, 2.),
            pooling='gndrp', ratio=.4, margin=None, stop_logit=600., stop_area=.7, area_ratio=.3, auxiliary=20,
            dataset={{_base_.train_dataloader.dataset.dataset}}, num_workers=8,
            localizer=dict(
                type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5, 1.5, 2.), flip=True,
                flip_fusion='sum'))))
