# GAIN_ext with the masks of 732 and boxes of 732 images of train beside the tags.
_base_ = './classifier_ext_pb200_voc.py'
work_dir = 'work_dirs/voc/gain_ext_pb1464/classifier'
train_dataloader = dict(dataset=dict(mask_count=732, box_count=732))
pseudo_labels = dict(out_dir='work_dirs/voc/gain_ext_pb1464/labels')
