# DeepLab-V2 on CAM's labels with the dense CRF, toy VOC.
_base_ = './deeplabv2_toy.py'
labels = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/labels_crf'
prerequisites = [{{_base_.toy_data}}, dict(run='labels', config='configs/cam/labels_crf_toy.py')]
work_dir = 'work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/deeplabv2_crf'
train_dataloader = dict(dataset=dict(
    label_dirs=dict(seg_map=labels + '/labels'), labels_made_by='configs/cam/labels_crf_toy.py'))
pseudo_labels = dict(out_dir='work_dirs/toy_{{$TOY_PROFILE:tags}}{{$TOY_WORLD:0}}/cam/deeplabv2_crf/predictions')
report = None   # the parent's: it would go into the parent's folder
