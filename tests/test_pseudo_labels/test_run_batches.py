"""Labelling in batches of one size: the partition is the list's, so no byte depends on how it is computed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from wsss_mm.datasets.label_readers import read_image
from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels.run import LabellingRun, image_size, run_together, size_batches
from wsss_mm.pseudo_labels.sharing import SharedWork

MIXED = [(60, 80), (60, 80), (96, 96), (60, 80), (80, 60), (60, 80), (96, 96), (60, 80), (60, 80), (96, 96), (80, 60),
         (1, 33)]
PARTITION = [[0, 1, 3], [2, 6, 9], [4, 10], [5, 7, 8], [11]]


@pytest.fixture(scope='session')
def mixed_config(toy_root, tmp_path_factory, label_config, annotate):
    """Class maps of a toy VOC of mixed sizes, in batches of three: its config's path."""
    folder = tmp_path_factory.mktemp('mixed')
    root = folder / 'toy'
    shutil.copytree(toy_root, root)
    for number, size in enumerate(MIXED):
        path = root / f'JPEGImages/train_{number:05d}.jpg'
        Image.open(path).crop((0, 0, *size[::-1])).save(path)
        annotate(root / f'Annotations/train_{number:05d}.xml', size, *[
            (name, 1, 1, *size[::-1]) for name in ('cow', 'dog', 'cat')[:number % 3 + 1]])
    return label_config(folder, root, """
pseudo_labels['batch_size'] = 3
pseudo_labels['dataset']['ann_file'] = 'ImageSets/Segmentation/train.txt'
pseudo_labels['generator'] = dict(
    _delete_=True, type='wsss_mm.ClassMapLabels', threshold=.3, localizer=dict(
        type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.GradCAM', layer='backbone.layer1'), scales=(1., .5)))
""")


@pytest.fixture
def mixed_run(mixed_config, tmp_path, classifier):
    def make(out='labels', **options):
        cfg = Config.fromfile(mixed_config)
        cfg.pseudo_labels.update(out_dir=str(tmp_path / out), **options)
        return LabellingRun(cfg, classifier)
    return make


@pytest.fixture(scope='session')
def unbroken_mixed(mixed_config, classifier, contents):
    cfg = Config.fromfile(mixed_config)
    assert LabellingRun(cfg, classifier).run() == dict(complete=True, labelled=12, skipped=0, failures={})
    labels = [np.array(Image.open(p)) for p in sorted(Path(cfg.pseudo_labels.out_dir).glob('labels/*.png'))]
    assert [x.shape for x in labels] == MIXED and sum(len(np.unique(x)) > 1 for x in labels) > 6
    return contents(Path(cfg.pseudo_labels.out_dir))


def test_batches_of_one_size_in_the_lists_order(mixed_config, tmp_path):
    images = Path(Config.fromfile(mixed_config).pseudo_labels.dataset.data_root) / 'JPEGImages'
    paths = [str(images / f'train_{i:05d}.jpg') for i in range(12)]
    assert size_batches(paths, 3) == PARTITION
    assert size_batches(paths, 1) == [[i] for i in range(12)]
    (tmp_path / 'text.jpg').write_text('no image')
    odd = [str(tmp_path / 'text.jpg'), paths[0], str(tmp_path / 'none.jpg'), paths[1]]
    assert size_batches(odd, 8) == [[0], [1, 3], [2]]


def test_turned_images_have_the_size_they_are_read_with(tmp_path):
    path = tmp_path / 'turned.jpg'
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((4, 9, 3), np.uint8)).save(path, exif=exif)
        assert image_size(path) == read_image(path).shape[:2]
    assert image_size(path) == (9, 4)


@pytest.mark.parametrize(('num_workers', 'processes'), [(0, 3), (1, 1)])
def test_neither_workers_nor_sharing_change_a_batched_byte(mixed_run, unbroken_mixed, contents, at_once, tmp_path,
                                                           num_workers, processes):
    at_once(*[lambda: mixed_run(num_workers=num_workers).run()] * processes)
    assert contents(tmp_path / 'labels') == unbroken_mixed


def test_many_batches_make_one_claim(mixed_run, unbroken_mixed, contents, monkeypatch):
    monkeypatch.setattr('wsss_mm.pseudo_labels.run._SHARES', 2)
    run, claims, claim = mixed_run(), [], SharedWork._claim
    monkeypatch.setattr(SharedWork, '_claim', lambda self, *share: claims.append(share) or claim(self, *share))
    run.run()
    assert claims == [(0, 0), (1, 0), ('finish', 0)] and contents(run.folder.root) == unbroken_mixed


def test_resume_within_a_batch_changes_no_byte(mixed_run, unbroken_mixed, contents):
    """Its batch is computed again as it was, and only what is missing is written."""
    run = mixed_run()
    run.run()
    stamps = {}
    for number in (0, 3, 9, 10):
        (run.folder.root / f'labels/train_{number:05d}.png').unlink()
    stamps = {p: p.stat().st_mtime_ns for p in run.folder.root.glob('labels/*.png')}
    seen = []
    again = mixed_run()
    extract = again.generator.extract_batch
    again.generator.extract_batch = lambda *a: seen.append(len(a[1])) or extract(*a)
    assert again.run() == dict(complete=True, labelled=4, skipped=8, failures={})
    assert seen == [3, 3, 2] and contents(run.folder.root) == unbroken_mixed
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items())


def test_a_bad_image_leaves_its_batch_as_it_was(mixed_run, unbroken_mixed, contents):
    run = mixed_run()
    path = Path(run.dataset.get_data_info(1)['img_path'])
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:len(whole) // 2])      # its header still says its size
        found = run.run()
    finally:
        path.write_bytes(whole)
    assert found['labelled'] == 11 and list(found['failures']) == ['train_00001']
    files = contents(run.folder.root)
    others = [n for n in unbroken_mixed if n.startswith(('labels', 'maps')) and '_00001' not in n]
    assert len(others) == 22 and all(files[n] == unbroken_mixed[n] for n in others)
    assert mixed_run().run() == dict(complete=True, labelled=1, skipped=11, failures={})
    assert contents(run.folder.root) == unbroken_mixed


def test_a_batch_that_fails_is_run_image_by_image(mixed_run):
    run = mixed_run()
    extract = run.generator.extract_batch

    def fails_on_one(model, images, inputs, samples):
        if len(images) > 1 or 'train_00006' in samples[0].img_path:
            raise RuntimeError('out of memory')
        return extract(model, images, inputs, samples)

    run.generator.extract_batch = fails_on_one
    found = run.run()
    assert found['labelled'] == 11 and list(found['failures']) == ['train_00006']
    assert 'out of memory' in found['failures']['train_00006']


def test_generators_that_know_no_batches(make_run, unbroken, contents):
    """Sixteen images of one size, BANA's features one by one out of the batch: the same files."""
    run = make_run(batch_size=5)
    assert run.run()['complete']
    files = contents(run.folder.root)
    assert {n: b for n, b in files.items() if n != 'run.json'} == {
        n: b for n, b in unbroken[1].items() if n != 'run.json'}
    with pytest.raises(ConfigError, match='batch_size=0'):
        make_run('other', batch_size=0)


def test_what_would_meet_every_image_stops_the_run_and_other_errors_are_each_their_own():
    def run(images):
        if any(x == 'bad' for x in images):
            raise ValueError('bad image')
        return [x.upper() for x in images]
    assert run_together([0, 1, 2], {0: 'a', 2: 'c'}, run) == {0: 'A', 2: 'C'}
    found = run_together([0, 1, 2], {0: 'a', 1: 'bad', 2: 'c'}, run)
    assert (found[0], found[2]) == ('A', 'C') and 'bad image' in found[1]
    assert run_together([0], {}, run) == {}

    def wrong_setting(images):
        raise ConfigError('trained names no part')
    with pytest.raises(ConfigError, match='trained names no part'):
        run_together([0, 1], {0: 'a', 1: 'b'}, wrong_setting)
