# GAIN_ext with the boxes of 1,464 images of train beside the tags.
_base_ = './classifier_ext_b200_voc.py'
work_dir = 'work_dirs/voc/gain_ext_b1464/classifier'
train_dataloader = dict(dataset=dict(box_count=1464))
pseudo_labels = dict(out_dir='work_dirs/voc/gain_ext_b1464/labels')
