# BANA, stage 3, on toy VOC with DeepLab-V1's head: the classifier directly on the trunk's last map.
_base_ = './deeplabv2_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv1'
model = dict(decode_head=dict(
    _delete_=True, type='wsss_mm.LargeFOVHead', in_channels=96, in_index=-1, num_classes=7, classifier='cosine',
    scale=20., loss_decode=dict(type='wsss_mm.NoiseAwareLoss', gamma=7., lambda_=.1)))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
