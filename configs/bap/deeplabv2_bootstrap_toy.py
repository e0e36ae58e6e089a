# Variant: bootstrapping on the unreliable pixels (paper, Table 3).
_base_ = './deeplabv2_toy.py'
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:boxes}}{{$TOY_WORLD:0}}/bap/deeplabv2_bootstrap'
model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='wsss_mm.BootstrappingLoss')))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
