# IRN on W-OoD's class maps, PASCAL VOC 2012.
# W-OoD's power and threshold, of its published code.
_base_ = './affinity_cam_voc.py'
confident = 'work_dirs/voc/irn/wood/confident'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/irn/confident_wood_voc.py')]
work_dir = 'work_dirs/voc/irn/wood/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=confident + '/labels'), labels_made_by='configs/irn/confident_wood_voc.py'))
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/wood/labels',
    generator=dict(
        map_dir='work_dirs/voc/wood/labels/maps', power=1.5, threshold=.22))
