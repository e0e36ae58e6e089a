# AdvCAM with W-OoD's classifier, the settings of AdvCAM as published. Paper: 59.1 mIoU of the class maps on train.
_base_ = './classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/wood/labels_advcam',
    batch_size=8,   # of one size; max_pixels of AdvCAM bounds what is run at a time
    generator=dict(
        threshold=.25,
        localizer=dict(
            localizer=dict(
                _delete_=True, type='wsss_mm.AdvCAM', steps=27, step_size=.08, regularization=7.,
                mask_threshold=.5))))
