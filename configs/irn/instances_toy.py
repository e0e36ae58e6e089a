# Instances from CAM's class maps and IRNet's displacements, toy VOC: one JSON in COCO's format.
_base_ = './affinity_cam_toy.py'
pseudo_labels = dict(
    out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/irn/cam/instances',
    generator=dict(
        type='wsss_mm.IRNInstances', classes=('cat', 'dog', 'cow', 'car', 'train', 'boat'), moves=300, still=2.5,
        min_area=.01, instance_threshold=.25))
