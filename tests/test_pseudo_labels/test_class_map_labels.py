"""Labels from class maps: of the network, and of saved maps."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization import CAM, MultiScale
from wsss_mm.pseudo_labels import ClassMapLabels, SavedMapLabels
from wsss_mm.pseudo_labels.auto_threshold import METHODS
from wsss_mm.pseudo_labels.class_map_labels import background_scores
from wsss_mm.pseudo_labels.run import LabellingRun
from wsss_mm.registry import MODELS
from wsss_mm.structures import ClassMaps, ImageSample

CAM_CFG = dict(type='wsss_mm.CAM')
CRF = dict(type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=20, bilateral_rgb=13, gaussian_weight=3,
           gaussian_xy=3, iterations=2)
GREY = np.full((4, 6, 3), 128, np.uint8)


def sample_of(tags, image=GREY, image_id='a'):
    return ImageSample(image_id, image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.array(tags, np.int64))


def packed(tags):
    return BaseDataElement(gt_label=tags, metainfo=dict(img_id='a'))


# ---------------------------------------------------------------- the best class

def test_vwe_fixture(parity):
    data = parity('vwe/cam_label')
    maps, expected = data['high_res'], data['label'].numpy()
    found = ClassMapLabels(CAM_CFG).labels_of(np.zeros((*expected.shape, 3), np.uint8), maps, data['keys'].numpy() + 1,
                                              float(data['bkg']))
    assert (found == expected).all() and len(np.unique(expected)) > 1


def test_ties_go_to_the_background_then_to_the_lower_class():
    maps = torch.tensor([[[.5, .6, .6, .2]], [[.5, .6, .7, .1]]])
    found = ClassMapLabels(CAM_CFG).labels_of(np.zeros((1, 4, 3), np.uint8), maps, np.array([3, 5]), .5)
    assert found.tolist() == [[0, 3, 5, 0]] and found.dtype == np.uint8


def test_power_of_the_background():
    maps = torch.tensor([[[0., .5, 1.]], [[.2, .1, .3]]])
    torch.testing.assert_close(background_scores(maps, 0, 'power', 3.), torch.tensor([[.8 ** 3, .5 ** 3, 0.]]))
    generator = ClassMapLabels(CAM_CFG, threshold=.99, background='power', alpha=3.)
    assert generator.labels_of(np.zeros((1, 3, 3), np.uint8), maps, np.array([1, 2]), .99).tolist() == [[0, 1, 1]]


def test_the_refiner_gets_background_and_classes(monkeypatch):
    generator = ClassMapLabels(CAM_CFG, refiner=CRF)
    seen = []
    monkeypatch.setattr(generator, 'refiner', lambda image, scores: seen.append((image, scores)) or scores[[1, 0]])
    maps = torch.tensor([.1, .9]).repeat_interleave(3).expand(1, 4, 6)
    found = generator.labels_of(GREY, maps, np.array([4]), .15)
    image, scores = seen[0]
    assert image is GREY and scores.shape == (2, 4, 6) and (scores[0] == np.float32(.15)).all()
    assert (found == [4, 4, 4, 0, 0, 0]).all()        # the refiner has swapped the two


def test_smaller_maps_are_enlarged():
    generator = ClassMapLabels(CAM_CFG)
    found = generator.labels_of(np.zeros((8, 8, 3), np.uint8), torch.tensor([[[0., 1.], [0., 1.]]]), np.array([2]), .5)
    assert (found == [0, 0, 0, 0, 2, 2, 2, 2]).all()


# ---------------------------------------------------------------- the two halves

@pytest.fixture
def model():
    torch.manual_seed(0)
    built = MODELS.build(Config(dict(
        type='wsss_mm.CAMClassifier', backbone=dict(type='wsss_mm.ToyNet', channels=(8, 12, 16)),
        head=dict(type='wsss_mm.GAPHead', num_classes=6, in_channels=16),
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[128.] * 3, std=[60.] * 3, bgr_to_rgb=True))))
    torch.nn.init.normal_(built.head.classifier.weight)
    return built.eval()


@pytest.mark.parametrize('localizer', [CAM_CFG, dict(type='wsss_mm.GradCAM', layer='backbone.layer1'),
                                       dict(type='wsss_mm.MultiScale', localizer=CAM_CFG, scales=(1., .5))])
def test_features_and_labels_of_a_batch(model, localizer):
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 255, (2, 21, 34, 3), np.uint8))
    generator = pickle.loads(pickle.dumps(ClassMapLabels(localizer, threshold=.4)))
    tags = torch.tensor([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]])
    features = generator.extract_batch(model, images, None, [packed(t.float()) for t in tags])
    results = [generator.label(sample_of(t, image), f, {})
               for t, image, f in zip(([2, 5], []), images, features, strict=True)]
    multi = generator.localizer
    assert (multi.scales, multi.flip) == (((1.,), False) if localizer['type'] != 'wsss_mm.MultiScale'
                                          else ((1., .5), True))
    expected, empty = multi.class_maps(model, images, tags > 0)
    np.testing.assert_array_equal(results[0].maps.maps, expected.maps)
    assert results[0].maps.class_ids.tolist() == expected.class_ids.tolist() == [2, 5] and results[0].notes == []
    best = expected.maps.max(0)
    np.testing.assert_array_equal(results[0].labels['labels'],
                                  np.where(best > np.float32(.4), np.array([2, 5])[expected.maps.argmax(0)], 0))
    assert len(np.unique(results[0].labels['labels'])) > 1
    assert results[1].notes == ['no tags: all background'] and not results[1].labels['labels'].any()
    assert results[1].maps.maps.shape == empty.maps.shape == (0, 21, 34)


def test_maps_alone_and_labels_alone(model):
    image = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    samples = [packed(torch.tensor([1., 0, 0, 0, 0, 0]))]
    maps_alone, labels_alone = ClassMapLabels(CAM_CFG, threshold=None), ClassMapLabels(CAM_CFG, save_maps=False)
    assert maps_alone.outputs == () and labels_alone.outputs == ('labels',)
    found = [g.label(sample_of([1], image), g.extract_batch(model, [image], None, samples)[0], {})
             for g in (maps_alone, labels_alone)]
    assert found[0].labels == {} and found[0].maps.maps.shape == (1, 9, 12)
    assert list(found[1].labels) == ['labels'] and found[1].maps is None
    with pytest.raises(ConfigError, match='makes nothing'):
        ClassMapLabels(CAM_CFG, threshold=None, save_maps=False)


def test_bad_settings(model):
    with pytest.raises(ConfigError, match="background='softmax'"):
        ClassMapLabels(CAM_CFG, background='softmax')
    with pytest.raises(ConfigError, match="threshold='best'"):
        SavedMapLabels('maps', 'best')
    with pytest.raises(ConfigError, match='LoadWeakLabels'):
        ClassMapLabels(CAM_CFG).extract_batch(model, [GREY], None, [BaseDataElement()])
    assert isinstance(ClassMapLabels(CAM_CFG).localizer.localizer, CAM)
    assert isinstance(ClassMapLabels(CAM_CFG).localizer, MultiScale)


# ---------------------------------------------------------------- saved maps

@pytest.fixture(scope='session')
def map_run(tmp_path_factory, label_config, classifier):
    """A run of class maps and labels of the small toy VOC: its config's path."""
    folder = tmp_path_factory.mktemp('maps')
    config = label_config(folder, text="""
pseudo_labels['generator'] = dict(
    _delete_=True, type='wsss_mm.ClassMapLabels', threshold=.3,
    localizer=dict(type='wsss_mm.MultiScale', localizer=dict(type='wsss_mm.CAM'), scales=(1., .5)))
""")
    run = LabellingRun(Config.fromfile(config), classifier)
    assert run.run() == dict(complete=True, labelled=16, skipped=0, failures={})
    return config


@pytest.fixture
def saved_run(map_run, tmp_path):
    """A run of labels from those maps."""
    source = Config.fromfile(map_run).pseudo_labels.out_dir

    def make(out='labels', map_dir=f'{source}/maps', **options):
        cfg = Config.fromfile(map_run)
        cfg.pseudo_labels.out_dir = str(tmp_path / out)
        cfg.pseudo_labels.generator = dict(type='wsss_mm.SavedMapLabels', map_dir=str(map_dir), **options)
        return LabellingRun(cfg)
    return make


def labels_in(folder):
    return {p.stem: np.array(Image.open(p)) for p in sorted(folder.glob('labels/*.png'))}


def test_the_same_threshold_gives_the_same_labels(map_run, saved_run):
    run = saved_run(threshold=.3)
    assert run.run()['complete'] and run.checkpoint is None
    found, expected = labels_in(run.folder.root), labels_in(Path(Config.fromfile(map_run).pseudo_labels.out_dir))
    assert found.keys() == expected.keys() and len(found) == 16
    pixels = np.concatenate([(found[i] != expected[i]).ravel() for i in found])
    assert pixels.mean() < 1e-3          # scores that float16 rounds across the threshold
    assert all((found[i] == expected[i]).mean() > .99 for i in found)
    assert sum(len(np.unique(x)) > 1 for x in found.values()) > 8


@pytest.mark.parametrize('method', METHODS)
def test_a_threshold_chosen_from_all_maps(saved_run, method):
    run = saved_run(threshold=method)
    chosen = run.generator.constants(None)['threshold'].item()
    assert 0 < chosen < 1
    run.run()
    given = saved_run('given', threshold=chosen)
    given.run()
    found, expected = labels_in(run.folder.root), labels_in(given.folder.root)
    assert all((found[i] == expected[i]).all() for i in found)


def test_crf_and_power_on_saved_maps(saved_run):
    plain, refined = saved_run(threshold=.3), saved_run('crf', threshold=0., background='power', refiner=CRF)
    for run in (plain, refined):
        assert run.run()['complete']
    a, b = labels_in(plain.folder.root), labels_in(refined.folder.root)
    assert any((a[i] != b[i]).any() for i in a)


def test_changed_maps_are_refused(map_run, saved_run, tmp_path):
    source = Config.fromfile(map_run).pseudo_labels.out_dir
    shutil.copytree(source, tmp_path / 'source')
    maps, record = tmp_path / 'source/maps', tmp_path / 'source/run.json'
    saved_run(map_dir=maps, threshold=.3).run()
    record.write_text(json.dumps(dict(json.loads(record.read_text()), hash='other')))
    with pytest.raises(ConfigError, match='changed: maps'):
        saved_run(map_dir=maps, threshold=.3)
    record.write_text(json.dumps(dict(json.loads(record.read_text()), complete=False)))
    with pytest.raises(DataError, match='not complete'):
        saved_run('b', map_dir=maps, threshold=.3)
    record.unlink()                     # maps from elsewhere: their bytes count
    first = SavedMapLabels(str(maps), .3).fingerprint()
    assert SavedMapLabels(str(maps), .5).fingerprint() == first
    path = sorted(maps.glob('*.npz'))[3]
    path.write_bytes(ClassMaps('x', np.array([1]), np.zeros((1, 2, 2)), 2, 2).to_bytes())
    assert SavedMapLabels(str(maps), .3).fingerprint() != first
    with pytest.raises(DataError, match='no class maps here'):
        saved_run('c', map_dir=tmp_path, threshold=.3)


def test_maps_that_do_not_fit_the_image(tmp_path):
    generator, constants = SavedMapLabels(str(tmp_path), .3), dict(threshold=torch.tensor(.3))

    def write(class_ids, size=(4, 6)):
        maps = np.ones((len(class_ids), 2, 3), np.float32)
        (tmp_path / 'a.npz').write_bytes(ClassMaps('a', np.array(class_ids), maps, *size).to_bytes())

    with pytest.raises(DataError, match='no class maps of this image') as caught:
        generator.label(sample_of([1]), {}, constants)
    assert 'a.npz' in str(caught.value) and 'ClassMapLabels' in str(caught.value)
    write([1], (6, 4))
    with pytest.raises(DataError, match='6 x 4 pixels'):
        generator.label(sample_of([1]), {}, constants)
    write([1, 3])
    with pytest.raises(DataError, match=r'no map of the classes \[2\]'):
        generator.label(sample_of([2, 3]), {}, constants)
    assert (generator.label(sample_of([3]), {}, constants).labels['labels'] == 3).all()
    assert generator.label(sample_of([]), {}, constants).notes == ['no tags: all background']
