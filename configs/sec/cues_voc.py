# SEC's cues on PASCAL VOC 2012 train_aug: class maps above a fifth of their maximum, background where the gradient of
# all class scores is smallest. The classifier is CAM's ResNet-50 at the image's own size; SEC has a VGG-16 at 321 x
# 321, with the gradient at conv4_1 ('backbone.features.17' of wsss_mm.VGG16), which layer2 stands for.
_base_ = '../cam/classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/sec/cues',
    generator=dict(
        _delete_=True, type='wsss_mm.SeedCues', localizer=dict(type='wsss_mm.CAM'), foreground=.2,
        conflicts='smaller', background=dict(kind='gradient', layer='backbone.layer2', share=.1)))
