# Variant: Y_crf alone, plain cross-entropy.
_base_ = './deeplabv2_voc.py'
work_dir = 'work_dirs/voc/bap/deeplabv2_ycrf'
model = dict(decode_head=dict(loss_decode=dict(
    _delete_=True, type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)))
pseudo_labels = report = None   # the parent's: they would go into the parent's folders
