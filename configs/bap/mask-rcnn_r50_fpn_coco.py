# BANA on COCO 2017 ("COCO-to-COCO"), Mask R-CNN on the labels: the loss of the reliable pixels alone. The paper names
# neither trunk nor schedule; its row of full supervision is that of Mask R-CNN's paper with ResNet-101-FPN. Here
# ResNet-50 and 180,000 iterations, as in BBAM's configs.
_base_ = '../bbam/mask-rcnn_r50_fpn_coco.py'
prerequisites = [{{_base_.coco_data}}, dict(run='labels', config='configs/bap/instances_coco.py')]
work_dir = 'work_dirs/coco/bap/mask_rcnn'
model = dict(roi_head=dict(mask_head=dict(grow=None, balanced=False)))
train_dataloader = dict(dataset=dict(
    ann_file='work_dirs/coco/bap/instances/instances.json', labels_made_by='configs/bap/instances_coco.py'))
