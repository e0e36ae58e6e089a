"""The texts of the configs for one's own data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pprint import pformat
from typing import Any

HEADER = """# Written by python -m wsss_mm prepare_dataset custom …, which writes it anew unless it was edited.
"""
_MEAN = 'mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True'
_RESNET50 = """dict(
        _delete_=True, type='ResNet', depth=50, out_indices=(3, ), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4),
        contract_dilation=True, norm_eval=True, norm_cfg=dict(type='BN', requires_grad=False),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'))"""
_SCHEDULES = dict(
    small="""    dict(type='LinearLR', start_factor=.04, by_epoch=False, begin=0, end={warm_up}),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin={warm_up}, end={iterations})]""",
    tags="    dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end={iterations} + 1)]",
    boxes="    dict(type='MultiStepLR', milestones=[{milestone}], gamma=.1, by_epoch=False)]",
    deeplab="    dict(type='PolyLR', power=.9, eta_min=0., by_epoch=False, begin=0, end={iterations})]")
_IMAGES = """data_root = {{_base_.own_root}}
images = dict(
    type='wsss_mm.WeakSegDataset', data_root=data_root, metainfo={{_base_.own_metainfo}}, img_suffix=None)
"""
# the label kinds' keys of a dataset, and the list of its images
_LABELS = dict(
    tags="box_dir=None, tag_file='image_tags.json'",
    boxes="box_dir='Annotations', box_convention='exact'",
    mixed="box_dir='Annotations', tag_file='image_tags.json', box_convention='exact',\n"
          "        mask_count=None, box_count=None, extra_ann_file=None,\n        supervision_files=dict({files})")
_FROM = dict(tags='labels from image tags', boxes='labels from boxes', masks='masks',
             mixed='labels from tags, boxes and masks')
_CRF = """dict(
            _delete_=True, type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy={crf_xy}, bilateral_rgb=5,
            gaussian_weight=3, gaussian_xy={crf_small}, iterations=10)"""


def dataset(root: str, classes: Sequence[str], palette: Sequence, scored: bool, lists: str) -> str:
    """``dataset.py``, which the others take in: folder, classes, colours and the images that score a segmentor."""
    shown = pformat(tuple(classes), width=110, compact=True).replace('\n', '\n   ')
    loader = f"""dict(
    batch_size=1, num_workers=1, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='wsss_mm.WeakSegDataset', data_root=own_root, ann_file='{lists}/val_masks.txt',
        metainfo=own_metainfo, img_suffix=None, box_dir=None, test_mode=True,
        pipeline=[
            dict(type='wsss_mm.LoadImage'),
            dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )),
            dict(type='wsss_mm.PackWeakInputs')]))"""
    return f"""# Paths hold from the folder in which the command was run.
own_root = {root!r}
own_classes = {shown}
own_metainfo = dict(
    classes=own_classes,
    palette={palette!r})
own_data = dict(run='data', kind='custom', root=own_root)
# images with masks that no training sees; None: there are none, so nothing is scored
own_val = {loader if scored else None}
"""


def classifier(kind: str, small: bool, base: str, values: Mapping[str, Any]) -> str:
    """A classifier from tags, boxes or both, and the labels that its maps become."""
    v = dict(values)
    labels = _labels_of(kind, v)
    train = 'train_boxes' if kind == 'boxes' else 'train'
    if kind == 'tags' and not small:
        model = f'model = dict(head=dict(num_classes={v["num_classes"]}))'
    else:
        head = [f'head=dict(num_classes={v["num_classes"]})']
        if small:
            head = [f'data_preprocessor=dict(size=({v["crop"]}, {v["crop"]}))', 'backbone=dict(init_cfg=None)', *head]
        elif kind == 'mixed':
            head = [f'data_preprocessor=dict({_MEAN})', f'backbone={_RESNET50}',
                    f'head=dict(num_classes={v["num_classes"]}, in_channels=2048)']
        if kind == 'mixed':
            head.append(_objectives(small, v))
        model = 'model = dict(\n    ' + ',\n    '.join(head) + ')'
    listed = _list(kind, v)
    pipeline = '' if not small else f""",
    pipeline=[
        dict(type='wsss_mm.LoadImage'),
        {_loading(kind)},
        {_resize(kind, v)},
        dict(type='wsss_mm.RandomCropWithBoxes', crop_size={v['crop']}{', min_visible=2' if kind != 'tags' else ''}),
        dict(type='RandomFlip', prob=.5),
        dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
        dict(type='wsss_mm.PackWeakInputs')]"""
    return f"""{_what(kind)}
_base_ = [{base!r}, './dataset.py']
prerequisites = [{{{{_base_.own_data}}}}]
work_dir = '{v['work']}/{kind}_classifier'
max_iters = {v['iterations']}
{_IMAGES}
{model}
train_dataloader = dict(num_workers={v['workers']}, dataset=dict(
    images, ann_file='{v['lists']}/{train}.txt',
    {labels}{pipeline}))
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
{_SCHEDULES['small' if small else 'tags' if kind == 'tags' else 'boxes'].format(**v)}

pseudo_labels = dict(
    out_dir='{v['work']}/{kind}_{'maps' if kind == 'tags' else 'labels'}', num_workers={v['label_workers']},
    dataset=dict(
        images, ann_file={listed},
        {labels}),
    {_generator(kind, v)})
"""


def labels(kind: str, small: bool, base: str, values: Mapping[str, Any]) -> str:
    """Labels from the class maps of tags: threshold chosen without ground truth, dense CRF."""
    v = dict(values)
    return f"""# Labels from the class maps: a threshold that is chosen without ground truth, then the dense CRF.
# The CRF's numbers are a rule of thumb by the pictures' size: look at the labels before you trust them.
_base_ = [{base!r}, './dataset.py']
prerequisites = [{{{{_base_.own_data}}}}, dict(run='labels', config='{v['configs']}/tags_classifier.py')]
{_IMAGES}
pseudo_labels = dict(
    out_dir='{v['work']}/tags_labels', num_workers={v['label_workers']},
    dataset=dict(
        images, ann_file={_list(kind, v)},
        {_LABELS['tags']}),
    generator=dict(
        map_dir='{v['work']}/tags_maps/maps', threshold='mean',
        refiner={_CRF.format(**v)}))
"""


def deeplab(kind: str, small: bool, base: str, values: Mapping[str, Any]) -> str:
    """A segmentor: its labels, its schedule, what it is scored on, and the report."""
    v = dict(values)
    maker = f'{v["configs"]}/{kind}_{"labels" if kind == "tags" else "classifier"}.py'
    folder = f'{v["work"]}/{kind}_labels/{"Y_crf" if kind == "boxes" else "labels"}'
    keys = "('gt_seg_map', 'gt_seg_map_ret')" if kind == 'boxes' else "('gt_seg_map', )"
    if kind == 'masks':
        needs, source = '', "label_dirs=None, labels_made_by=None,\n    data_prefix=dict(img_path='JPEGImages', " \
                            "seg_map_path='SegmentationClass')"
    else:
        needs = f", dict(run='labels', config='{maker}')"
        ret = f", seg_map_ret='{v['work']}/boxes_labels/Y_ret'" if kind == 'boxes' else ''
        source = f"label_dirs=dict(seg_map='{folder}'{ret}),\n    labels_made_by='{maker}'"
    train = 'train' if kind in ('tags', 'mixed') else f'train_{kind}'
    model = [f'decode_head=dict(num_classes={v["with_background"]})', f'test_cfg=dict(scales=({v["scale"]}, ))']
    if small:
        model = [f'data_preprocessor=dict(size=({v["crop"]}, {v["crop"]}))', 'backbone=dict(init_cfg=None)', *model]
    else:
        model = [f'data_preprocessor=dict({_MEAN})', f'backbone={_RESNET50}', model[0]]
    pipeline = '' if not small else f""",
    pipeline=[
        dict(type='wsss_mm.LoadImage'),
        dict(type='wsss_mm.LoadLabelMaps', keys={keys}),
        {_resize('tags', v)},
        dict(type='wsss_mm.RandomCropWithBoxes', crop_size={v['crop']}),
        dict(type='RandomFlip', prob=.5),
        dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
        dict(type='wsss_mm.PackWeakInputs')]"""
    scored = '' if 'val' in v['scored'] else """val_cfg = test_cfg = None
val_evaluator = test_evaluator = None
"""
    joined = ',\n    '.join(model)
    return f"""# DeepLab-V2 on {_FROM[kind]}.
_base_ = [{base!r}, './dataset.py']
prerequisites = [{{{{_base_.own_data}}}}{needs}]
work_dir = '{v['work']}/{kind}_deeplab'
max_iters = {v['iterations']}
{_IMAGES}
model = dict(
    {joined})
train_dataloader = dict(batch_size={v['batch']}, num_workers={v['workers']}, dataset=dict(
    images, ann_file='{v['lists']}/{train}.txt', box_dir=None,
    {source}{pipeline}))
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
val_dataloader = {{{{_base_.own_val}}}}
test_dataloader = {{{{_base_.own_val}}}}
{scored}param_scheduler = [
{_SCHEDULES['small' if small else 'deeplab'].format(**v)}

# ---- a label map of every picture, also of those without any label
pseudo_labels = dict(
    out_dir='{v['work']}/{kind}_predictions', num_workers={v['label_workers']},
    dataset=dict(
        images, ann_file='{v['lists']}/all.txt', box_dir=None,
        pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.PackWeakInputs')]))
{_report(kind, folder, v)}"""


def _what(kind: str) -> str:
    return '# ' + dict(tags='A classifier from image tags, and its class maps.',
                       boxes='A classifier from boxes with background-aware pooling, and labels (BANA).',
                       mixed='One classifier from tags, boxes and masks, and labels of every image.')[kind]


def _objectives(small: bool, v: Mapping[str, Any]) -> str:
    if not v['has_masks']:
        return 'objectives=[]'
    return f"""objectives=[
        dict(type='wsss_mm.AttentionSupervision', mask_weight=1., box_weight=0.),
        dict(
            type='wsss_mm.SegmentationBranch', loss_weight=1.,
            decode_head=dict(
                type='wsss_mm.DeepLabV2Head', in_channels={96 if small else 2048}, in_index=-1, channels=64,
                num_classes={v['with_background']}, rates={(1, 3, 6, 9) if small else (6, 12, 18, 24)},
                form='features', classifier='dot',
                loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)))]"""


def _labels_of(kind: str, v: Mapping[str, Any]) -> str:
    named = ', '.join(f"{k}='{v['lists']}/train_{k}.txt'" for k in ('masks', 'boxes') if v[f'has_{k}']) if \
        kind == 'mixed' else ''
    return _LABELS[kind].format(files=named)


def _list(kind: str, v: Mapping[str, Any]) -> str:
    if kind == 'tags' and 'val' in v['scored']:
        return f"['{v['lists']}/train.txt', '{v['lists']}/val.txt']"
    return f"'{v['lists']}/{'train_boxes' if kind == 'boxes' else 'train'}.txt'"


def _loading(kind: str) -> str:
    return dict(tags="dict(type='wsss_mm.LoadWeakLabels', boxes=False)", boxes="dict(type='wsss_mm.LoadWeakLabels')",
                mixed="dict(type='wsss_mm.LoadWeakLabels'),\n        dict(type='wsss_mm.LoadLabelMaps', "
                      "keys=('gt_seg_map', ))")[kind]


def _resize(kind: str, v: Mapping[str, Any]) -> str:
    if kind == 'tags':
        return f"dict(type='wsss_mm.RandomLongSide', low={v['low']}, high={v['high']})"
    # boxes are labelled at the picture's own size, so they are learned near it
    return "dict(type='wsss_mm.RandomScale', ratio_range=(.85, 1.2))"


def _generator(kind: str, v: Mapping[str, Any]) -> str:
    if kind == 'tags':
        return f"generator=dict(threshold=None, localizer=dict(scales={v['scales']}))"
    return f'generator=dict(refiner={_CRF.format(**v)})'


def _report(kind: str, folder: str, v: Mapping[str, Any]) -> str:
    splits = [s for s in v['scored'] if s == 'val' or kind not in ('masks', 'mixed')]
    if 'val' not in splits:
        return 'report = None   # no masks to score on\n'
    predictions = f'{v["work"]}/{kind}_predictions/labels'
    lists = ', '.join(f"{s}='{v['lists']}/{s}_masks.txt'" for s in splits)
    rows = [f"dict(name='DeepLab-V2', labels='{predictions}')"]
    if kind != 'masks':
        rows.insert(0, f"dict(name='pseudo labels', labels='{folder}')")
    joined = ',\n        '.join(rows)
    parts = dict(tags='CAM', boxes='BANA', mixed='mixed supervision', masks='ground truth')[kind]
    return f"""report = dict(
    _delete_=True, title='DeepLab-V2 from {kind}', out_dir='{v['work']}/{kind}_deeplab/report',
    needs=[dict(run='labels')], data_root=data_root, classes={{{{_base_.own_classes}}}}, box_dir=None,
    splits=dict({lists}),
    rows=[
        {joined}],
    stations=[('labels', {kind!r}, 'own data'), ('pseudo labels', {parts!r}, ''), ('segmentor', 'DeepLab-V2', '')],
    gallery=dict(row='DeepLab-V2', split='val', worst=6, best=6, prediction='{predictions}'))
"""
