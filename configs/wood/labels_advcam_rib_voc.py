# AdvCAM and RIB with W-OoD's classifier: images climb at weights that RIB has fitted to them. Paper: 60.7 mIoU of the
# class maps on train. No code of the combination is published; that maps are taken at the first, a middle and the last
# weights is a choice made here: at all ten, labelling takes ten times as long as with AdvCAM alone.
_base_ = './classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/wood/labels_advcam_rib',
    generator=dict(
        threshold=.27,
        localizer=dict(
            _delete_=True, type='wsss_mm.RIB', steps=10, lr=8e-6, head_lr_mult=10., momentum=1e-4, weight_decay=1e-4,
            power=.9, trained=('backbone.layer3', 'backbone.layer4', 'head'), target_scales=(1., 1.5, 2.),
            pooling='gndrp', ratio=.4, margin=None, stop_logit=600., stop_area=.7, area_ratio=.3, auxiliary=20,
            dataset={{_base_.train_dataloader.dataset.dataset}}, num_workers=8,
            map_steps=(0, 4, 9),
            localizer=dict(
                type='wsss_mm.MultiScale', scales=(1., .5, 1.5, 2.), flip=True, flip_fusion='sum',
                localizer=dict(
                    type='wsss_mm.AdvCAM', steps=27, step_size=.08, regularization=7., mask_threshold=.5)))))
