# Instances from CAM's class maps and IRNet's displacements, PASCAL VOC 2012 train_aug: one JSON in COCO's format.
_base_ = './affinity_cam_voc.py'
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/cam/instances',
    generator=dict(
        type='wsss_mm.IRNInstances', moves=300, still=2.5, min_area=.01, instance_threshold=.25,
        classes=(
            'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
            'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')))
