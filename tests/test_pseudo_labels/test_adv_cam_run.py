"""Labelling with AdvCAM in batches: the climb is a batch's own, so no byte depends on sharing or resume."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from wsss_mm.pseudo_labels.run import LabellingRun

SIZES = [(40, 56), (48, 48), (40, 56), (40, 56), (48, 48), (56, 40), (1, 33)]     # batches 0 2, 1 4, 3, 5, 6
NAMES = ('cow', 'dog', 'cat')


@pytest.fixture(scope='module')
def climbing_config(toy_root, tmp_path_factory, label_config, annotate):
    """A toy VOC of mixed sizes and numbers of classes, one image without any: the config's path."""
    folder = tmp_path_factory.mktemp('climbing')
    root = folder / 'toy'
    shutil.copytree(toy_root, root)
    for number, size in enumerate(SIZES):
        path = root / f'JPEGImages/train_{number:05d}.jpg'
        Image.open(path).crop((0, 0, *size[::-1])).save(path)
        annotate(root / f'Annotations/train_{number:05d}.xml', size, *[
            (name, 1, 1, *size[::-1]) for name in NAMES[:number % 4]])
    (root / 'ImageSets/Segmentation/train.txt').write_text(
        ''.join(f'train_{number:05d}\n' for number in range(len(SIZES))))
    return label_config(folder, root, """
pseudo_labels['batch_size'] = 2
pseudo_labels['dataset']['ann_file'] = 'ImageSets/Segmentation/train.txt'
pseudo_labels['generator'] = dict(
    _delete_=True, type='wsss_mm.ClassMapLabels', threshold=.8, localizer=dict(
        type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.AdvCAM', steps=4, max_pixels=15000), scales=(1., .5)))
""")


@pytest.fixture
def climbing_run(climbing_config, tmp_path, classifier):
    def make(out='labels', **options):
        cfg = Config.fromfile(climbing_config)
        cfg.pseudo_labels.update(out_dir=str(tmp_path / out), **options)
        return LabellingRun(cfg, classifier)
    return make


@pytest.fixture(scope='module')
def unbroken_climb(climbing_config, classifier, contents):
    cfg = Config.fromfile(climbing_config)
    assert LabellingRun(cfg, classifier).run() == dict(complete=True, labelled=7, skipped=0, failures={})
    root = Path(cfg.pseudo_labels.out_dir)
    labels = [np.array(Image.open(path)) for path in sorted(root.glob('labels/*.png'))]
    assert [x.shape for x in labels] == SIZES and sum(len(np.unique(x)) > 1 for x in labels) >= 4
    return contents(root)


def test_sharing_changes_no_byte(climbing_run, unbroken_climb, contents, at_once, tmp_path):
    at_once(*[lambda: climbing_run().run()] * 2)
    assert contents(tmp_path / 'labels') == unbroken_climb


def test_resume_within_a_batch_changes_no_byte(climbing_run, unbroken_climb, contents):
    run = climbing_run()
    run.run()
    for number in (2, 5):
        (run.folder.root / f'labels/train_{number:05d}.png').unlink()
    assert climbing_run().run() == dict(complete=True, labelled=2, skipped=5, failures={})
    assert contents(run.folder.root) == unbroken_climb


def test_one_image_that_fails_costs_the_others_nothing(climbing_run):
    """An error in the midst of a climb leaves the network as it was for the images after it."""
    run, calls = climbing_run(batch_size=1), []

    def fail(_, inputs, __):
        calls.append(len(calls))
        if len(calls) == 3:
            raise RuntimeError('out of memory')

    handle = run.model.backbone.register_forward_hook(fail)
    found = run.run()
    handle.remove()
    assert list(found['failures']) == ['train_00001'] and 'out of memory' in found['failures']['train_00001']
    assert all(p.requires_grad and p.grad is None for p in run.model.parameters())
    again, whole = climbing_run(batch_size=1), climbing_run('whole', batch_size=1)
    assert again.run()['labelled'] == 1 and whole.run()['labelled'] == 7
    for path in whole.folder.root.glob('*/*'):
        assert path.read_bytes() == (again.folder.root / path.parent.name / path.name).read_bytes()
