# DSRG's cues on toy VOC: SEC's, from CAM's saved class maps, in a folder of their own.
_base_ = '../sec/cues_toy.py'
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/dsrg/cues')
