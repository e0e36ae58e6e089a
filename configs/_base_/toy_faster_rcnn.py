# A small Faster R-CNN for 96-px scenes.
model = dict(
    type='FasterRCNN',
    backbone=dict(
        type='wsss_mm.ToyNet', output_stride=8, out_indices=(0, 2), contiguous=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/pretrain/textures_{{$TOY_PROFILE:boxes}}/final.pth',
            prefix='backbone.')),
    neck=dict(type='FPN', in_channels=[64, 96], out_channels=64, num_outs=3),   # strides 4, 8, 16
    rpn_head=dict(
        type='RPNHead', in_channels=64, feat_channels=64,
        anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[.5, 1., 2.], strides=[4, 8, 16]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.], target_stds=[1., 1., 1., 1.]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.),
        loss_bbox=dict(type='L1Loss', loss_weight=1.)),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=1),
            out_channels=64, featmap_strides=[4, 8], finest_scale=24),
        bbox_head=dict(
            type='Shared2FCBBoxHead', in_channels=64, fc_out_channels=128, roi_feat_size=7, num_classes=6,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.], target_stds=[.1, .1, .2, .2]),
            reg_class_agnostic=False,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.),
            loss_bbox=dict(type='L1Loss', loss_weight=1.))),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=.7, neg_iou_thr=.3, min_pos_iou=.3, match_low_quality=True,
                ignore_iof_thr=-1),
            sampler=dict(
                type='RandomSampler', num=64, pos_fraction=.5, neg_pos_ub=-1, add_gt_as_proposals=False),
            allowed_border=-1, pos_weight=-1, debug=False),
        rpn_proposal=dict(nms_pre=200, max_per_img=100, nms=dict(type='nms', iou_threshold=.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=.5, neg_iou_thr=.5, min_pos_iou=.5, match_low_quality=False,
                ignore_iof_thr=-1),
            sampler=dict(type='RandomSampler', num=64, pos_fraction=.5, neg_pos_ub=-1, add_gt_as_proposals=True),
            pos_weight=-1, debug=False)),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=100, nms=dict(type='nms', iou_threshold=.7), min_bbox_size=0),
        rcnn=dict(score_thr=.05, nms=dict(type='nms', iou_threshold=.5), max_per_img=20)))
