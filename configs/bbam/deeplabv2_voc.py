# BBAM's semantic branch on PASCAL VOC 2012: DeepLab-V2 (ResNet-101) on the label maps of its masks. Settings of the
# published training: crop 321, batch 5 with 2 steps accumulated, learning rate 2.5e-4, 20,000 iterations, ImageNet
# weights, a CRF in the test. Not here: its training at three scales, joined by their maximum.
_base_ = '../cam/deeplabv2_voc.py'
labels = 'work_dirs/voc/bbam/masks/labels'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/bbam/masks_voc.py')]
work_dir = 'work_dirs/voc/bbam/deeplabv2'
train_dataloader = dict(dataset=dict(label_dirs=dict(seg_map=labels), labels_made_by='configs/bbam/masks_voc.py'))
pseudo_labels = dict(out_dir=work_dir + '/predictions')
report = dict(
    _delete_=True,
    title='BBAM on PASCAL VOC 2012: boxes in, DeepLab-V2 out',
    out_dir=work_dir + '/report',
    needs=[dict(run='labels')],
    data_root={{_base_.data_root}}, image_dir='JPEGImages', truth_dir='SegmentationClass', box_dir='Annotations',
    classes='voc',
    splits=dict(train='ImageSets/Segmentation/train.txt', val='ImageSets/Segmentation/val.txt'),
    paper_source='BBAM (CVPR 2021); 71.4 is without MCG proposals, 73.7 with them',
    rows=[
        dict(name='BBAM', labels=labels),
        dict(name='DeepLab-V2', labels=work_dir + '/predictions/labels', paper=dict(val=71.4))],
    stations=[
        ('weak labels', 'boxes', 'no mask is seen in training'),
        ('detector', 'Faster R-CNN', 'ResNet-101-FPN'),
        ('explanation', 'BBAM', 'the smallest mask that keeps both heads\' predictions'),
        ('refinement', 'MaskBuilder', 'dense CRF; what may be object is ignored'),
        ('pseudo labels', 'ObjectMapLabels', 'label maps of the masks'),
        ('segmentor', 'DeepLab-V2', 'cross-entropy')],
    protocol={'training seed': '0', 'test of the segmentor': 'scales .5, .75, 1, 1.5 with flips, then dense CRF'},
    gallery=[
        dict(row='BBAM', split='train', worst=6, best=6),
        dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction=work_dir + '/predictions/labels')])
