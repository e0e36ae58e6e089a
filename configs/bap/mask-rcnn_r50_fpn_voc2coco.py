# The same on the labels of the classifier trained on VOC ("VOC-to-COCO").
_base_ = '../bbam/mask-rcnn_r50_fpn_coco.py'
prerequisites = [{{_base_.coco_data}}, dict(run='labels', config='configs/bap/instances_voc2coco.py')]
work_dir = 'work_dirs/coco/bap_voc2coco/mask_rcnn'
model = dict(roi_head=dict(mask_head=dict(grow=None, balanced=False)))
train_dataloader = dict(dataset=dict(
    ann_file='work_dirs/coco/bap_voc2coco/instances/instances.json',
    labels_made_by='configs/bap/instances_voc2coco.py'))
