"""The sweep over alpha: what labelling one by one gives, in any number of processes; the tool's files."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from wsss_mm.errors import ConfigError, DataError, WSSSError
from wsss_mm.evaluation import ConfusionMatrix, sweep_alphas
from wsss_mm.pseudo_labels.class_map_labels import MapLabeller
from wsss_mm.refinement import DenseCRF
from wsss_mm.structures import ClassMaps

CLASSES = ('background', 'cat', 'dog', 'cow')
NUMBERS = dict(bilateral_weight=2, bilateral_xy=8, bilateral_rgb=20, gaussian_weight=1, gaussian_xy=2)
ALPHAS = (1., 4., 16.)
IDS = ['a', 'b', 'c']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three images, one without a class, with smaller maps."""
    root, rng = tmp_path_factory.mktemp('sweep'), np.random.default_rng(0)
    for name in ('maps', 'truth', 'images'):
        (root / name).mkdir()
    for image_id, ids in zip(IDS, ([1, 3], [2], []), strict=True):
        size = (24, 30 + 2 * len(ids))
        maps = rng.random((len(ids), 12, size[1] // 2), np.float32)
        found = ClassMaps(image_id, np.array(ids, np.int64), maps, *size)
        (root / f'maps/{image_id}.npz').write_bytes(found.to_bytes())
        truth = rng.choice([0, *ids, 255], size).astype(np.uint8)
        Image.fromarray(truth).save(root / f'truth/{image_id}.png')
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(root / f'images/{image_id}.png')
    return root


class OneByOne(MapLabeller):
    outputs = ()

    def label(self, sample, features, constants):
        raise NotImplementedError


def labelled(root, alpha, refiner):
    """Counts of label maps that the labelling run would make."""
    labeller, counts = OneByOne(refiner, 'power', alpha), ConfusionMatrix(len(CLASSES))
    for image_id in IDS:
        image, truth = (np.array(Image.open(root / f'{name}/{image_id}.png')) for name in ('images', 'truth'))
        maps = ClassMaps.load(root / f'maps/{image_id}.npz')
        counts.update(labeller.labels_of(image, torch.from_numpy(maps.maps), maps.class_ids, .5), truth)
    return counts


def test_the_sweep_is_labelling_one_by_one(folder):
    crf = DenseCRF(**NUMBERS)
    sweep = sweep_alphas(folder / 'maps', folder / 'truth', IDS, CLASSES, ALPHAS, crf=crf, image_dir=folder / 'images')
    assert sweep.counts.shape == (2, 3, 4, 5)
    refiners = (None, dict(type='wsss_mm.DenseCRF', **NUMBERS))
    for row, refiner in enumerate(refiners):
        expected = [labelled(folder, alpha, refiner) for alpha in ALPHAS]
        np.testing.assert_array_equal(sweep.counts[row], [e.counts for e in expected])
        assert sweep.miou()[sweep.names[row]] == [100 * e.miou() for e in expected]
    assert (sweep.counts[0] != sweep.counts[1]).any() and (sweep.counts[0, 0] != sweep.counts[0, 2]).any()
    assert sweep.counts[0].sum((1, 2)).tolist() == sweep.counts[1].sum((1, 2)).tolist()


def test_processes_change_nothing(folder):
    found = [sweep_alphas(folder / 'maps', folder / 'truth', IDS, CLASSES, (4.,), crf=DenseCRF(**NUMBERS),
                          image_dir=folder / 'images', num_workers=n).counts for n in (0, 1)]
    np.testing.assert_array_equal(*found)


def test_without_a_crf_no_image_is_needed(folder):
    ticks = []
    sweep = sweep_alphas(folder / 'maps', folder / 'truth', IDS, CLASSES, ALPHAS, progress=lambda: ticks.append(1))
    assert sweep.names == ('maps',) and len(ticks) == 3
    best = sweep.best()['maps']
    assert sweep.miou()['maps'][ALPHAS.index(best)] == max(sweep.miou()['maps'])
    assert f'| {best:5g} | {max(sweep.miou()["maps"]):.2f}* |' in sweep.table()


def test_refusals(folder, tmp_path):
    def sweep(ids=IDS, alphas=(4.,), classes=CLASSES, **options):
        return sweep_alphas(folder / 'maps', folder / 'truth', ids, classes, alphas, **options)
    with pytest.raises(ConfigError, match='alphas'):
        sweep(alphas=())
    with pytest.raises(ConfigError, match='alphas'):
        sweep(alphas=(0.,))
    with pytest.raises(ConfigError, match='a CRF looks at the images'):
        sweep(crf=DenseCRF(preset='psa'))
    with pytest.raises(DataError, match='no image ids'):
        sweep(ids=[])
    with pytest.raises(DataError, match='no class maps of this image'):
        sweep(ids=['none'])
    with pytest.raises(DataError, match='class ids'):
        sweep(classes=CLASSES[:2])
    with pytest.raises(DataError, match='no such image'):
        sweep(crf=DenseCRF(preset='psa'), image_dir=tmp_path)


def test_a_process_that_dies_ends_the_sweep_with_a_message(folder):
    class Deadly:
        def __reduce__(self):
            return os._exit, (1,)   # as it arrives in the process

    with pytest.raises(WSSSError, match='process of the sweep died'):
        sweep_alphas(folder / 'maps', folder / 'truth', IDS, CLASSES, ALPHAS, crf=Deadly(),
                     image_dir=folder / 'images', num_workers=1)


def test_the_tool_writes_table_csv_and_picture(folder, tmp_path, call_tool):
    (tmp_path / 'ids.txt').write_text('\n'.join(IDS))
    (tmp_path / 'classes.txt').write_text('\n'.join(CLASSES))
    line = [folder / 'maps', '--truth', folder / 'truth', '--ids', tmp_path / 'ids.txt', '--classes',
            tmp_path / 'classes.txt', '--images', folder / 'images', '--num-workers', 0, '--alphas', *ALPHAS]
    done = call_tool('sweep_crf', *line, '--out', tmp_path / 'out/alpha', '--crf', 2, 8, 20, 1, 2)
    assert done.code == 0, done.err
    sweep = sweep_alphas(folder / 'maps', folder / 'truth', IDS, CLASSES, ALPHAS, crf=DenseCRF(**NUMBERS),
                         image_dir=folder / 'images')
    assert sweep.table() in done.out and (tmp_path / 'out/alpha.csv').read_text() == sweep.csv()
    rows = np.genfromtxt(tmp_path / 'out/alpha.csv', delimiter=',', names=True)
    np.testing.assert_allclose(rows['miou_crf'], sweep.miou()['CRF'], atol=1e-4)
    assert rows['alpha'].tolist() == list(ALPHAS)
    with Image.open(tmp_path / 'out/alpha.png') as picture:
        assert picture.size[0] > 600
    for crf, message in ((['foo'], "preset='foo'"), ([1, 2], '--crf 1 2')):
        refused = call_tool('sweep_crf', *line, '--crf', *crf)
        assert refused.code == 2 and message in refused.err
