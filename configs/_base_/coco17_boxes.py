# COCO 2017 with its own annotation files; boxes for classifiers and for the labels.
data_root = 'data/coco'
coco_data = dict(run='data', kind='coco17', root=data_root)
crop_size = (321, 321)
# Caffe's VGG-16: BGR, mean subtracted, no division
data_preprocessor = dict(
    type='wsss_mm.WeakSegDataPreProcessor', mean=[104.008, 116.669, 122.675], std=[1., 1., 1.], bgr_to_rgb=False,
    pad_val=0, seg_pad_val=255, size=crop_size)
box_pipeline = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadWeakLabels'),
    dict(type='wsss_mm.PackWeakInputs')]
# train2017 is the union of 2014's train and 35,000 of its val: the papers' 115K
box_file = data_root + '/annotations/instances_train2017.json'
labelled_boxes = dict(
    type='wsss_mm.CocoBoxDataset', data_root=data_root, ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img_path='train2017'), test_mode=True, pipeline=box_pipeline)
