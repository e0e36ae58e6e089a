# Hybrid spatial pyramid pooling alone: VWE without its visual words. Paper: 50.6 mIoU of the class maps on train.
_base_ = '../vwe/classifier_voc.py'
work_dir = 'work_dirs/voc/hspp/classifier'
model = dict(objectives=[])
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, custom_keys={'head': dict(lr_mult=10.)}))
pseudo_labels = dict(out_dir='work_dirs/voc/hspp/labels')
