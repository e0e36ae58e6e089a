# RIB on COCO 2014, settings of the published script. Paper: class maps 3.0 mIoU above those of IRN's classifier.
_base_ = '../cam/classifier_coco.py'
pseudo_labels = dict(
    out_dir='work_dirs/coco/rib/labels',
    generator=dict(
        threshold=.22,   # published after IRN; the best for class maps is looked for from .10 to .50
        localizer=dict(
            _delete_=True, type='wsss_mm.RIB', steps=10, lr=5e-6, head_lr_mult=10., momentum=1e-4, weight_decay=1e-4,
            power=.9, trained=('backbone.layer3', 'backbone.layer4', 'head'), target_scales=(1., 1.5, 2.),
            pooling='gndrp', ratio=.5,
            gndrp_classes=20,   # the published loop ends there: all other classes have plain means; None for all
            margin=None, stop_logit=1000., stop_area=.8, area_ratio=.3,
            auxiliary=15, dataset={{_base_.train_dataloader.dataset}}, num_workers=8,
            localizer=dict(
                type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5, 1.5, 2.), flip=True,
                flip_fusion='sum'))))
