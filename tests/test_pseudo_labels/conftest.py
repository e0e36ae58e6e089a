"""Shared by the tests of labelling runs: an unbroken run of class labels and one of masks, and their variations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from wsss_mm.datasets.prepare_instances import write_instances
from wsss_mm.engine.stages import load_config
from wsss_mm.explainers import object_maps
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.run_lengths import decode_mask


@pytest.fixture(scope='session')
def unbroken(tmp_path_factory, label_config, classifier, contents):
    """A labelling run in one go and one process: its config's path and the bytes of its files."""
    folder = tmp_path_factory.mktemp('unbroken')
    config = label_config(folder)
    assert LabellingRun(Config.fromfile(config), classifier).run() == dict(
        complete=True, labelled=16, skipped=0, failures={})
    return Path(config), contents(folder / 'labels')


@pytest.fixture
def make_run(unbroken, tmp_path, classifier):
    """A run of the unbroken one's config into another folder."""

    def make(out='labels', checkpoint=classifier, **options):
        cfg = Config.fromfile(unbroken[0])
        cfg.merge_from_dict({f'pseudo_labels.{k.replace("__", ".")}': v for k, v in options.items()})
        cfg.pseudo_labels.out_dir = str(tmp_path / out)
        return LabellingRun(cfg, checkpoint)
    return make


@pytest.fixture(scope='session')
def annotate():
    """Write an image's annotation: its size, and objects as ``(name, x1, y1, x2, y2)``."""
    def annotate(path, size, *objects):
        nodes = ''.join(f'<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}'
                        '</ymax></bndbox></object>' for name, a, b, c, d in objects)
        path.write_text(f'<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{nodes}</annotation>')
    return annotate


@pytest.fixture(scope='session')
def explained_objects(toy_root, tmp_path_factory):
    """A toy VOC with its COCO files, and maps of its objects: their true masks, coarse and with noise."""
    folder = tmp_path_factory.mktemp('explained')
    root = folder / 'toy'
    shutil.copytree(toy_root, root)
    write_instances(root)
    truth = json.loads((root / 'annotations/instances_train.json').read_text())
    for image in truth['images']:
        own = [a for a in truth['annotations'] if a['image_id'] == image['id']]
        size = (image['height'], image['width'])
        rng = np.random.default_rng(image['id'])
        grids = [np.clip(decode_mask(a['segmentation'], *size)[3::6, 3::6] * .8 + .2 * rng.random((16, 16)), 0, 1)
                 .astype(np.float32) for a in own]
        boxes = np.array([a['bbox'] for a in own], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        stem = image['file_name'][:-4]
        maps = object_maps(stem, size, size, boxes, np.array([a['category_id'] - 1 for a in own]),
                           np.array([a['id'] for a in own]), grids=grids, statuses=['ok'] * len(own))
        (folder / 'maps/objects').mkdir(parents=True, exist_ok=True)
        (folder / f'maps/objects/{stem}.npz').write_bytes(maps.to_bytes())
    (folder / 'maps/run.json').write_text(json.dumps(dict(complete=True, hash='of the maps')))
    return folder


@pytest.fixture(scope='session')
def masks_config(explained_objects, write_config):
    """Write a config of masks into a folder of its own, ``<folder>/masks``."""
    def write(folder):
        return write_config(folder / 'masks.py', 'bbam/masks_toy.py', f"""
pseudo_labels = dict(
    out_dir='{folder}/masks', num_workers=0, dataset=dict(data_root='{explained_objects}/toy'),
    generator=dict(map_dir='{explained_objects}/maps/objects', builder=dict(blur=(3, 9)),
                   ann_file='{explained_objects}/toy/annotations/boxes_train.json'))""")
    return write


@pytest.fixture(scope='session')
def label_masks():
    """Run a config of masks, whose scope is mmdet's."""
    def run(path):
        with DefaultScope.overwrite_default_scope('mmdet'):
            return LabellingRun(load_config(path)).run()
    return run


@pytest.fixture(scope='session')
def masks_run(masks_config, label_masks, tmp_path_factory):
    """The folder of an unbroken run that makes masks of ``explained_objects``."""
    folder = tmp_path_factory.mktemp('whole')
    assert label_masks(masks_config(folder))['complete']
    return folder / 'masks'


@pytest.fixture
def masks_copy(masks_config, masks_run, tmp_path):
    """A copy of it, ``tmp_path / 'masks'``, and its config."""
    shutil.copytree(masks_run, tmp_path / 'masks')
    return masks_config(tmp_path)
