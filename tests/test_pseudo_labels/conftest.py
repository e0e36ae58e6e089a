"""Shared by the tests of the labelling run: one unbroken run, others of its config, annotations of odd images."""

from pathlib import Path

import pytest
from mmengine.config import Config

from wsss_mm.pseudo_labels.run import LabellingRun


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

    def make(out='labels', checkpoint=classifier, rank=0, world_size=1, **options):
        cfg = Config.fromfile(unbroken[0])
        cfg.merge_from_dict({f'pseudo_labels.{k.replace("__", ".")}': v for k, v in options.items()})
        cfg.pseudo_labels.out_dir = str(tmp_path / out)
        return LabellingRun(cfg, checkpoint, rank=rank, world_size=world_size)
    return make


@pytest.fixture(scope='session')
def annotate():
    """Write an image's annotation: its size, and objects as ``(name, x1, y1, x2, y2)``."""
    def annotate(path, size, *objects):
        nodes = ''.join(f'<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}'
                        '</ymax></bndbox></object>' for name, a, b, c, d in objects)
        path.write_text(f'<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{nodes}</annotation>')
    return annotate
