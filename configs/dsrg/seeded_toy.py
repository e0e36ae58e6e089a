# DSRG, step 1, on toy VOC: seeds that grow as the segmentor learns. Its labels of train are what step 2 learns from.
# The CRF's unary is -log p: with the published -p, at most 1, nothing here comes above the thresholds, and no seed grows.
_base_ = '../cam/deeplabv2_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}'
cues = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/cues'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/dsrg/cues_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/seeded'
model = dict(
    type='wsss_mm.SeededSegmentor',
    decode_head=dict(
        _delete_=True, type='wsss_mm.ASPPBranchHead', in_channels=96, in_index=-1, channels=64, num_classes=7,
        rates=(1, 3, 6, 9), dropout_ratio=0.),
    seed_losses=[dict(
        type='wsss_mm.DSRGLoss', foreground_threshold=.85, background_threshold=.99, unary='log',
        crf=dict(   # that of toy images by the stride
            type='wsss_mm.BatchCRF', bilateral_weight=2, bilateral_xy=4, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=.5, iterations=10, kernel='exact'))])
train_dataloader = dict(
    dataset=dict(
        box_dir='Annotations',   # tags
        label_dirs=dict(seg_map=cues + '/labels'), labels_made_by='configs/dsrg/cues_toy.py',
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.LoadWeakLabels', boxes=False),
            dict(type='wsss_mm.MarkValid'),   # what a crop pads is not "no cue"
            dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2)),
            dict(type='wsss_mm.RandomCropWithBoxes', crop_size={{_base_.crop_size}}),
            dict(type='RandomFlip', prob=.5),
            dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
            dict(type='wsss_mm.PackWeakInputs')]))
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/labels',
    generator=dict(
        present_only=True,   # the published run does not
        refiner=dict(
            type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
            gaussian_xy=2, iterations=10)))
report = None   # the parent's: it would go into the parent's folder
