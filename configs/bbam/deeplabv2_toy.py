# BBAM's semantic branch on toy VOC: DeepLab-V2 on the label maps of its masks, cross-entropy.
_base_ = '../bap/deeplabv2_ycrf_toy.py'
world = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}'
labels = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/masks/labels'
prerequisites = [
    {{_base_.toy_data}}, dict(run='train', config='configs/pretrain/textures_toy.py'),
    dict(run='labels', config='configs/bbam/masks_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bbam/deeplabv2'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels, seg_map_ret=labels), labels_made_by='configs/bbam/masks_toy.py'))

# ---- predictions as label maps, for the report
pseudo_labels = dict(
    _delete_=True,
    out_dir=world + '/bbam/deeplabv2/predictions',
    num_workers=1,
    dataset=dict(
        type='wsss_mm.ToyVOCDataset', data_root={{_base_.data_root}}, test_mode=True, pipeline={{_base_.box_pipeline}},
        ann_file=['ImageSets/Segmentation/train.txt', 'ImageSets/Segmentation/val.txt']),
    generator=dict(type='wsss_mm.SegmentorLabels'))
report = dict(
    _delete_=True,
    title='BBAM on toy VOC: boxes in, a trained segmentor out',
    out_dir=world + '/bbam/deeplabv2/report',
    needs=[
        dict(run='labels', config='configs/box_baselines/box_fill_toy.py'),
        dict(run='labels', config='configs/box_baselines/grabcut_toy.py'),
        dict(run='labels')],
    data_root={{_base_.data_root}}, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir='Annotations',
    classes='toy',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    rows=[
        dict(name='box fill', labels=world + '/box_baselines/box_fill/labels'),
        dict(name='GrabCut', labels=world + '/box_baselines/grabcut/labels'),
        dict(name='BBAM', labels=labels),
        dict(name='DeepLab-V2', labels=world + '/bbam/deeplabv2/predictions/labels', paper=dict(val=73.7))],
    paper_source='BBAM (CVPR 2021), PASCAL VOC 2012, with MCG proposals',
    stations=[
        ('weak labels', 'boxes', 'no mask is seen in training'),
        ('detector', 'Faster R-CNN', 'trained on the boxes'),
        ('explanation', 'BBAM', 'the smallest mask that keeps both heads\' predictions'),
        ('refinement', 'MaskBuilder', 'dense CRF; what may be object is ignored'),
        ('pseudo labels', 'ObjectMapLabels', 'label maps of the masks'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    protocol={
        'training seed': '0', 'toy world': '{{$TOY_WORLD:0}}', 'test of DeepLab-V2': 'one scale, no flip, no CRF'},
    gallery=dict(
        row='DeepLab-V2', split='val', worst=6, best=6, prediction=world + '/bbam/deeplabv2/predictions/labels'))
