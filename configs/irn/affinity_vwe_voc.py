# IRN on VWE's class maps, PASCAL VOC 2012.
# IRN's own power and threshold.
_base_ = './affinity_cam_voc.py'
confident = 'work_dirs/voc/irn/vwe/confident'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/irn/confident_vwe_voc.py')]
work_dir = 'work_dirs/voc/irn/vwe/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=confident + '/labels'), labels_made_by='configs/irn/confident_vwe_voc.py'))
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/vwe/labels',
    generator=dict(
        map_dir='work_dirs/voc/vwe/labels/maps', power=1., threshold=.25))
