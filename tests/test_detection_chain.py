"""One command from boxes to a trained Mask R-CNN: detector, explanations, masks, detector with masks."""

import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
from pycocotools import mask as coco_masks  # noqa: E402

from wsss_mm.datasets.prepare_instances import write_instances  # noqa: E402

LOADER = 'dict(batch_size=2, num_workers=0, persistent_workers=False)'
DATA = """dict(run='data', kind='toy', root='data/toy_voc/boxes_world0', profile='boxes', seed=0),
    dict(run='data', kind='instances', root='data/toy_voc/boxes_world0')"""
SHORT = f"""
train_cfg = dict(max_iters=2, val_interval=2)
model = dict(backbone=dict(init_cfg=None))
train_dataloader = {LOADER}
val_dataloader = test_dataloader = dict(num_workers=0, persistent_workers=False)
"""
WORK = 'work_dirs/toy_boxes0/bbam'


@pytest.fixture(scope='module')
def chain(tmp_path_factory, toy_root, write_config, run_tool):
    """The working directory after the whole line has run on twelve scenes, and what the command said."""
    root = tmp_path_factory.mktemp('detection')
    shutil.copytree(toy_root, root / 'data/toy_voc/boxes_world0')
    write_instances(root / 'data/toy_voc/boxes_world0')
    write_config(root / 'tiny/faster-rcnn.py', 'bbam/faster-rcnn_toy.py', f"""{SHORT}
prerequisites = [{DATA}]
pseudo_labels = dict(num_workers=0, generator=dict(explainer=dict(iterations=3, n_jitter=50)))""")
    write_config(root / 'tiny/masks.py', 'bbam/masks_toy.py', f"""
prerequisites = [{DATA}, dict(run='labels', config='tiny/faster-rcnn.py')]
pseudo_labels = dict(num_workers=0)""")
    write_config(root / 'tiny/mask-rcnn.py', 'bbam/mask-rcnn_toy.py', f"""{SHORT}
prerequisites = [{DATA}, dict(run='labels', config='tiny/masks.py')]""")
    return root, run_tool(root, 'train', 'tiny/mask-rcnn.py').stdout


def test_one_command_runs_the_whole_line(chain, monkeypatch, call_tool):
    root, said = chain
    steps = re.findall(r'^\[(\d)/6\] (.+?): (.+)$', said, re.M)
    assert [step[:2] for step in steps] == [
        ('1', 'data data/toy_voc/boxes_world0'), ('2', 'instances of data/toy_voc/boxes_world0'),
        ('3', 'train tiny/faster-rcnn.py'), ('4', 'labels tiny/faster-rcnn.py'), ('5', 'labels tiny/masks.py'),
        ('6', 'train tiny/mask-rcnn.py')]
    assert re.search(r'instances/segm_AP50: \d', said) and re.search(r'instances/bbox_AP50: \d', said)
    monkeypatch.chdir(root)
    again = call_tool('train', 'tiny/mask-rcnn.py', '--plan')
    assert again.code == 0 and again.out.count(': complete') == 6, again.out


def test_masks_keep_the_boxes_annotations(chain):
    """Every annotated box has a mask with pixels, apart from what is ignored, and is otherwise as it was."""
    root, _ = chain
    boxes = json.loads((root / 'data/toy_voc/boxes_world0/annotations/boxes_train.json').read_text())
    made = json.loads((root / WORK / 'masks/instances.json').read_text())
    assert made['categories'] == boxes['categories']
    assert [i['file_name'] for i in made['images']] == [i['file_name'] for i in boxes['images']]
    found = {a['id']: a for a in made['annotations']}
    assert set(found) == {a['id'] for a in boxes['annotations']}
    for annotation in boxes['annotations']:
        own = found[annotation['id']]
        assert own['bbox'] == annotation['bbox'] and own['category_id'] == annotation['category_id']
        mask = coco_masks.decode(own['segmentation'])
        assert mask.any() and own['area'] == mask.sum()
        if 'ignore_region' in own:
            assert not (mask & coco_masks.decode(own['ignore_region'])).any()


def test_a_stock_mask_rcnn_trains_on_the_file(chain, write_config, run_line):
    """mmdet's own command, data set, loader and mask head."""
    import mmdet
    root, _ = chain
    config = write_config(root / 'tiny/stock.py', 'bbam/mask-rcnn_toy.py', f"""
custom_hooks = []
train_cfg = dict(max_iters=2, val_interval=2)
val_dataloader = test_dataloader = dict(num_workers=0, persistent_workers=False)
model = dict(
    backbone=dict(init_cfg=None),
    roi_head=dict(mask_head=dict(
        _delete_=True, type='FCNMaskHead', num_convs=2, in_channels=64, conv_out_channels=32, num_classes=6,
        loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.))))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(
        _delete_=True, type='CocoDataset', ann_file='{WORK}/masks/instances.json',
        data_prefix=dict(img='data/toy_voc/boxes_world0/JPEGImages/'),
        metainfo=dict(classes=('cat', 'dog', 'cow', 'car', 'train', 'boat')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='RandomFlip', prob=.5),
            dict(type='PackDetInputs')]))
default_hooks = dict(logger=dict(interval=1))""")
    tool = Path(mmdet.__file__).parent / '.mim/tools/train.py'
    run_line([sys.executable, str(tool), config, '--work-dir', str(root / 'stock')], root)
    lines = [json.loads(line) for log in root.glob('stock/*/vis_data/scalars.json')
             for line in log.read_text().splitlines()]
    losses = [line['loss_mask'] for line in lines if 'loss_mask' in line]
    assert len(losses) == 2 and all(math.isfinite(x) and x > 0 for x in losses)
    assert any('instances/segm_AP50' in line for line in lines)
