# Cues for SEC from GAIN's attention (TPAMI 2020, section 4): above a fifth of its maximum; background as SEC finds it.
_base_ = '../gain/classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/gain_sec/cues',
    generator=dict(
        _delete_=True, type='wsss_mm.SeedCues', localizer=dict(type='wsss_mm.GradCAM'), foreground=.2,
        conflicts='smaller',
        background=dict(kind='gradient', layer='backbone.features.17', share=.1)))   # conv4_1
