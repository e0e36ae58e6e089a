# PSA on PASCAL VOC 2012 train_aug, AEFT's class maps, with its own recipe: started from the classifier, a lower
# learning rate, 64 steps, then one iteration of the CRF. Paper: 71.0 mIoU on train.
_base_ = './affinity_cam_voc.py'
prerequisites = [{{_base_.voc_data}}, dict(run='labels', config='configs/psa/confident_aeft_voc.py')]
work_dir = 'work_dirs/voc/psa/aeft/affinity'
model = dict(backbone=dict(init_cfg=dict(
    type='Pretrained', checkpoint='work_dirs/voc/aeft/classifier/final.pth', prefix='backbone.')))
# the weight decay stands where SGD takes the momentum, as in AEFT's other trainings
optim_wrapper = dict(optimizer=dict(lr=.01, momentum=5e-4))
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map='work_dirs/voc/psa/aeft/confident/labels'),
    labels_made_by='configs/psa/confident_aeft_voc.py'))
pseudo_labels = dict(
    out_dir='work_dirs/voc/psa/aeft/labels',
    generator=dict(
        map_dir='work_dirs/voc/aeft/labels/maps', steps=64, alpha=19,
        refiner=dict(type='wsss_mm.DenseCRF', preset='aeft', iterations=1)))
