# DSRG's cues on PASCAL VOC 2012 train_aug: class maps above a fifth of their maximum, background where a saliency map
# is below .06. Saliency maps (the paper's are DRFI's) as <image id>.png in the folder below; without any, take
# background=dict(kind='gradient', layer='backbone.layer2', share=.1), as SEC.
_base_ = '../cam/classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/dsrg/cues',
    generator=dict(
        _delete_=True, type='wsss_mm.SeedCues', localizer=dict(type='wsss_mm.CAM'), foreground=.2,
        conflicts='smaller',
        background=dict(kind='prior', folder='data/VOCdevkit/VOC2012/saliency', below=.06)))
