# AdvCAM on PASCAL VOC 2012 train_aug: class maps of CAM's classifier while the image climbs, 27 steps at four scales.
# Background: the code sweeps .15 … .34 for its seeds and names no one value. Its labels go on to IRN, .15 as surely
# background, .35 as surely foreground and the maps to the power of 1.5.
_base_ = '../cam/classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/advcam/labels',
    batch_size=8,   # of one size; max_pixels bounds what is run at a time
    generator=dict(
        threshold=.25,
        localizer=dict(localizer=dict(
            type='wsss_mm.AdvCAM', steps=27, step_size=.08, regularization=7., mask_threshold=.5))))
