# AdvCAM with W-OoD's classifier, the settings of AdvCAM as published. Paper: 59.1 mIoU of the class maps on train.
_base_ = './classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/wood/labels_advcam',
    generator=dict(
        threshold=.15,
        localizer=dict(
            localizer=dict(
                _delete_=True, type='wsss_mm.AdvCAM', steps=27, step_size=.08, regularization=7.,
                mask_threshold=.5))))
