# Variant: unreliable pixels are ignored (paper, Table 3).
_base_ = './deeplabv2_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv2_ignore'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='wsss_mm.ReliableCrossEntropy')))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
