# GAIN_ext with the masks of 28 and the boxes of 28 images beside the tags.
_base_ = './classifier_ext_b_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_pb/classifier'
train_dataloader = dict(dataset=dict(mask_count=28, box_count=28))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/gain_ext_pb/labels')
