# IRN on RIB's class maps, PASCAL VOC 2012.
# RIB's power and threshold, of its published code.
_base_ = './affinity_cam_voc.py'
confident = 'work_dirs/voc/irn/rib/confident'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/irn/confident_rib_voc.py')]
work_dir = 'work_dirs/voc/irn/rib/affinity'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=confident + '/labels'), labels_made_by='configs/irn/confident_rib_voc.py'))
pseudo_labels = dict(
    out_dir='work_dirs/voc/irn/rib/labels',
    generator=dict(
        map_dir='work_dirs/voc/rib/labels/maps', power=1.3, threshold=.27))
