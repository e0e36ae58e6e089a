# Grad-CAM of the proposals that BBAM explains, with BBAM's detector and grid, on PASCAL VOC 2012.
_base_ = '../bbam/faster-rcnn_r101_fpn_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/box_baselines/maps_gradcam',
    generator=dict(
        explainer=dict(
            _delete_=True, type='wsss_mm.RoIGradCAM', scale=(1333, 800), stride=(16, 48))))
