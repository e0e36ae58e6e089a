"""Labelling with RIB: weights and other images are an image's own, so no byte depends on batches, sharing or resume."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from wsss_mm.pseudo_labels.run import LabellingRun

SIZES = [(40, 56), (48, 48), (40, 56), (40, 56), (48, 48), (56, 40), (1, 33), (48, 48)]
NAMES = ('cow', 'dog', 'cat')


@pytest.fixture(scope='module')
def rib_config(toy_root, tmp_path_factory, label_config, annotate):
    """A toy VOC of mixed sizes, one image without tags and one without others of other classes: the config's path."""
    folder = tmp_path_factory.mktemp('rib')
    root = folder / 'toy'
    shutil.copytree(toy_root, root)
    for number, size in enumerate(SIZES):
        path = root / f'JPEGImages/train_{number:05d}.jpg'
        Image.open(path).crop((0, 0, *size[::-1])).save(path)
        names = NAMES if number == 7 else () if number == 6 else NAMES[number % 3:][:1]
        annotate(root / f'Annotations/train_{number:05d}.xml', size, *[(name, 1, 1, *size[::-1]) for name in names])
    (root / 'ImageSets/Segmentation/train.txt').write_text(
        ''.join(f'train_{number:05d}\n' for number in range(len(SIZES))))
    return label_config(folder, root, f"""
_pipeline = [
    dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels', boxes=False),
    dict(type='wsss_mm.RandomScale', ratio_range=(.8, 1.2)), dict(type='RandomFlip', prob=.5),
    dict(type='wsss_mm.RandomCropWithBoxes', crop_size=32), dict(type='wsss_mm.PackWeakInputs')]
pseudo_labels['dataset']['ann_file'] = 'ImageSets/Segmentation/train.txt'
pseudo_labels['generator'] = dict(
    _delete_=True, type='wsss_mm.ClassMapLabels', threshold=.5, localizer=dict(
        type='wsss_mm.RIB', steps=3, lr=2e-3, trained=('backbone.layer3', 'head'), target_scales=(1.,), auxiliary=3,
        num_workers=0, stop_logit=None, stop_area=None,
        dataset=dict(
            type='wsss_mm.ToyVOCDataset', data_root='{root}', ann_file='ImageSets/Segmentation/train.txt',
            pipeline=_pipeline),
        localizer=dict(type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5))))
""")


@pytest.fixture
def rib_run(rib_config, tmp_path, classifier):
    def make(out='labels', localizer=None, **options):
        cfg = Config.fromfile(rib_config)
        cfg.pseudo_labels.update(out_dir=str(tmp_path / out), **options)
        cfg.pseudo_labels.generator.localizer.update(localizer or {})
        return LabellingRun(cfg, classifier)
    return make


@pytest.fixture(scope='module')
def unbroken_rib(rib_config, classifier, contents):
    cfg = Config.fromfile(rib_config)
    assert LabellingRun(cfg, classifier).run() == dict(complete=True, labelled=8, skipped=0, failures={})
    root = Path(cfg.pseudo_labels.out_dir)
    labels = [np.array(Image.open(path)) for path in sorted(root.glob('labels/*.png'))]
    assert [x.shape for x in labels] == SIZES and sum(len(np.unique(x)) > 1 for x in labels) >= 4
    assert not labels[6].any()
    return contents(root)


def maps_of(files):
    return {name: data for name, data in files.items() if name.startswith('maps/')}


def test_it_adapts(rib_run, unbroken_rib, contents):
    """Other steps, other draws and no other images give other maps, where there is something to adapt to."""
    expected = maps_of(unbroken_rib)
    for i, options in enumerate((dict(steps=1), dict(seed=1), dict(auxiliary=0))):
        run = rib_run(f'other{i}', localizer=options)
        run.run()
        found = maps_of(contents(run.folder.root))
        same = {name for name in expected if found[name] == expected[name]}
        # nothing to adapt to without tags (6) and where the class is predicted nowhere (1, 4); and no other image where
        # there are all classes (7)
        assert same == {f'maps/train_{n:05d}.npz' for n in ([1, 4, 6, 7] if i else [1, 4, 6])}
    nowhere = np.load(run.folder.root / 'maps/train_00001.npz')['maps']
    assert nowhere.size and not nowhere.any()


def test_sharing_changes_no_byte(rib_run, unbroken_rib, contents, at_once, tmp_path):
    at_once(*[lambda: rib_run().run()] * 3)
    assert contents(tmp_path / 'labels') == unbroken_rib


def test_resume_changes_no_byte(rib_run, unbroken_rib, contents):
    run = rib_run()
    run.run()
    for number in (2, 5):
        (run.folder.root / f'labels/train_{number:05d}.png').unlink()
    assert rib_run().run() == dict(complete=True, labelled=2, skipped=6, failures={})
    assert contents(run.folder.root) == unbroken_rib


def test_batches_change_no_map(rib_run, unbroken_rib, contents):
    run = rib_run(batch_size=3)
    run.run()
    assert maps_of(contents(run.folder.root)) == maps_of(unbroken_rib)


def test_the_generator_is_sent_to_workers(rib_run, unbroken_rib, contents):
    run = rib_run(num_workers=1)
    run.run()
    assert contents(run.folder.root) == unbroken_rib


def test_another_image_that_cannot_be_read(rib_config, rib_run, unbroken_rib):
    """The images that would have used it fail by its name, the others are labelled."""
    run = rib_run()
    broken = Path(run.dataset.data_root) / 'JPEGImages/train_00004.jpg'
    before = broken.read_bytes()
    broken.write_bytes(b'no image')
    try:
        found = run.run()
    finally:
        broken.write_bytes(before)
    assert 'train_00004' in found['failures'] and 0 < found['labelled'] < 8
    assert all('train_00004.jpg' in problem for problem in found['failures'].values())
