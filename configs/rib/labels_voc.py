# RIB on PASCAL VOC 2012: the class maps of CAM's classifier, summed while it is fitted to each image. Settings of the
# published code; paper: 56.5 mIoU of the class maps on train, where CAM has 48.8.
_base_ = '../cam/classifier_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/rib/labels',
    generator=dict(
        threshold=.27,   # published after IRN; the best for class maps is looked for from .20 to .49
        localizer=dict(
            _delete_=True, type='wsss_mm.RIB', steps=10, lr=8e-6, head_lr_mult=10., momentum=1e-4, weight_decay=1e-4,
            power=.9, trained=('backbone.layer3', 'backbone.layer4', 'head'), target_scales=(1., 1.5, 2.),
            pooling='gndrp', ratio=.4,
            margin=None, stop_logit=600.,   # the paper's m = 600 is a margin of each logit; the code's ends the run
            stop_area=.7, area_ratio=.3,
            # 20 images without a class of the image's, augmented as for the classifier
            auxiliary=20, dataset={{_base_.train_dataloader.dataset}}, num_workers=8,
            localizer=dict(
                type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5, 1.5, 2.), flip=True,
                flip_fusion='sum'))))
