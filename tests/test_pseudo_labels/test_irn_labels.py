"""IRN's confident areas and labels from saved class maps."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample
from PIL import Image

from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels import IRNConfidentLabels, IRNLabels
from wsss_mm.pseudo_labels.irn_confident import label_unary
from wsss_mm.pseudo_labels.irn_labels import walk_from_boundary
from wsss_mm.registry import MODELS, TASK_UTILS
from wsss_mm.structures import ClassMaps, ImageSample

CRF = dict(type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=20, bilateral_rgb=13, gaussian_weight=3,
           gaussian_xy=3, iterations=2)
STRIDE = dict(stride=torch.tensor(4.))


def sample_of(tags, size=(6, 8), seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return ImageSample('a', image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.array(tags, np.int64))


def with_maps(generator, maps, class_ids, size, monkeypatch):
    """A generator that finds these maps, without rounding them to a file's float16."""
    found = ClassMaps('a', np.array(class_ids, np.int64), np.asarray(maps, np.float32), *size)
    monkeypatch.setattr(generator.saved, 'load', lambda sample: dataclasses.replace(found))
    return generator


# ---------------------------------------------------------------- confident areas

def test_unary_of_a_label_map():
    found = label_unary(np.array([[0, 2]]), 3, .7)
    own, other = -math.log(.7), -math.log(.15)
    np.testing.assert_allclose(found[:, 0], [[own, other], [other, other], [other, own]], rtol=1e-6)
    assert found.dtype == np.float32


def test_confident_areas_by_hand(monkeypatch):
    maps = [[[.5, .2, .04, .2, .31, .02]], [[.1, .1, .01, .25, .4, .05]]]
    generator = with_maps(IRNConfidentLabels('maps'), maps, [3, 7], (1, 6), monkeypatch)
    found = generator.label(sample_of([3, 7], (1, 6)), {}, {})
    # sure class, unsure, sure background, unsure (of either class), the best class, not above .05: background
    assert found.labels['labels'].tolist() == [[3, 255, 0, 255, 7, 0]] and found.labels['labels'].dtype == np.uint8


def test_the_rule_on_labels_after_the_crf(monkeypatch):
    """A class in the first wins whatever the second says; background only where both say so."""
    outcomes = iter([np.array([[1, 0, 0, 2, 0]]), np.array([[2, 0, 1, 0, 2]])])

    class Refiner:
        def prepare(self, image):
            return self

        def infer(self, unary):
            return np.eye(3)[next(outcomes)].transpose(2, 0, 1)

    generator = with_maps(IRNConfidentLabels('maps'), [[[.2] * 5], [[.1] * 5]], [4, 5], (1, 5), monkeypatch)
    generator.refiner = Refiner()
    assert generator.label(sample_of([4, 5], (1, 5)), {}, {}).labels['labels'].tolist() == [[4, 0, 255, 5, 255]]


@pytest.mark.parametrize(('level', 'runs'), [(.2, 2), (.9, 1)])
def test_the_crf_shares_its_lattice_and_runs_twice_only_if_it_must(level, runs, monkeypatch):
    maps = np.zeros((2, 12, 14), np.float32)
    maps[0, 2:8, 3:10] = level
    maps[1, 6:, :5] = .95
    generator = with_maps(IRNConfidentLabels('maps', refiner=CRF), maps, [1, 2], (12, 14), monkeypatch)
    sample, crf = sample_of([1, 2], (12, 14)), TASK_UTILS.build(CRF)
    expected = []
    for threshold in (.30, .05):
        labels = np.concatenate([np.full((1, 12, 14), threshold, np.float32), maps]).argmax(0)
        expected.append(crf.prepare(sample.image).infer(label_unary(labels, 3, .7)).argmax(0))
    calls = []
    prepare = generator.refiner.prepare

    def counting(image):
        calls.append('prepare')
        prepared = prepare(image)
        infer = prepared.infer
        monkeypatch.setattr(prepared, 'infer', lambda unary: calls.append('infer') or infer(unary))
        return prepared
    monkeypatch.setattr(generator.refiner, 'prepare', counting)
    found = generator.label(sample, {}, {}).labels['labels']
    assert calls == ['prepare'] + ['infer'] * runs
    high, low = expected
    assert found.tolist() == np.where(high > 0, high, np.where(low > 0, 255, 0)).tolist()


def test_confident_areas_of_an_image_without_tags(monkeypatch):
    generator = with_maps(IRNConfidentLabels('maps', refiner=CRF), np.zeros((0, 6, 8)), [], (6, 8), monkeypatch)
    found = generator.label(sample_of([]), {}, {})
    assert not found.labels['labels'].any() and found.notes == ['no tags: all background']


@pytest.mark.parametrize(('options', 'message'), [
    (dict(foreground=.1, background=.2), 'background=0.2'), (dict(confidence=1.), 'confidence=1.0')])
def test_thresholds_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        IRNConfidentLabels('maps', **options)


# ---------------------------------------------------------------- the walk

def test_walk_is_the_published_one(parity):
    recorded = parity('irn/random_walk')
    found = walk_from_boundary(recorded['cam'], recorded['edge'][0])
    # the published walk squares a float32 matrix; float64 is as near to it as its own rounding
    torch.testing.assert_close(found, recorded['rw_beta10_pow256'], rtol=0, atol=1e-4)
    found = walk_from_boundary(recorded['cam'], recorded['edge'][0], beta=1., steps=16)
    torch.testing.assert_close(found, recorded['rw_beta1_pow16'], rtol=0, atol=1e-5)


def test_labels_are_the_published_ones(parity, monkeypatch):
    recorded = parity('irn/random_walk')
    generator = with_maps(IRNLabels('maps'), recorded['cam'], [2, 5, 9], (66, 87), monkeypatch)
    found = generator.label(sample_of([2, 5, 9], (66, 87)), dict(boundary=recorded['edge'][0]), STRIDE)
    expected = np.array([0, 2, 5, 9])[recorded['label'].numpy()]
    assert (found.labels['labels'] == expected).mean() > .9995   # of 5,742; ties within the walk's rounding
    assert set(np.unique(expected)) == {0, 2, 5} and found.labels['labels'].dtype == np.uint8
    upsampled = recorded['upsampled'] / recorded['upsampled'].max()
    np.testing.assert_allclose(found.maps.maps, upsampled, atol=2e-4)
    assert found.maps.maps.max() == 1


def test_no_boundary_at_all_spreads_and_a_full_one_stops():
    maps = torch.zeros(1, 6, 12)
    maps[:, :, 1] = 1
    wall = torch.zeros(6, 12)
    wall[:, 6] = 1
    spread, stopped = (walk_from_boundary(maps, boundary) for boundary in (torch.zeros(6, 12), wall))
    assert spread[0, :, 7:].min() > .01 and stopped[0, :, 7:].max() < 1e-6
    assert stopped[0, :, :6].min() > .1


def test_power_and_size_of_the_start(monkeypatch):
    full = np.random.default_rng(0).random((1, 24, 28), np.float32)
    generator = with_maps(IRNLabels('maps', power=1.5), full, [1], (24, 28), monkeypatch)
    found = generator.start_maps(generator.saved.load(None), torch.zeros(6, 7))
    # the middle of a cell of 4 x 4 is the mean of its inner four
    inner = torch.from_numpy(full).view(1, 6, 4, 7, 4)[:, :, 1:3, :, 1:3].mean((2, 4))
    torch.testing.assert_close(found, inner ** 1.5)
    quarter = ClassMaps('a', np.array([1]), inner.numpy(), 24, 28)
    torch.testing.assert_close(generator.start_maps(quarter, torch.zeros(6, 7)), inner ** 1.5)


@pytest.mark.parametrize('tags', [[], [4]])
def test_nothing_to_walk_is_background(tags, monkeypatch):
    generator = with_maps(IRNLabels('maps', save_boundaries=True), np.zeros((len(tags), 9, 13)), tags, (9, 13),
                          monkeypatch)
    boundary = torch.linspace(0, 1, 12).view(3, 4)
    found = generator.label(sample_of(tags, (9, 13)), dict(boundary=boundary), STRIDE)
    assert found.labels['labels'].shape == (9, 13) and not found.labels['labels'].any()
    assert found.maps.maps.shape == (len(tags), 9, 13) and np.isfinite(found.maps.maps).all()
    assert found.notes == ([] if tags else ['no tags: all background'])
    grey = np.array(Image.open(io.BytesIO(found.files['boundaries/a.png'])))
    assert grey.tolist() == np.rint(boundary.numpy() * 255).tolist()


# ---------------------------------------------------------------- the network's part

@pytest.fixture(scope='module')
def model():
    from mmengine.registry import DefaultScope
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.manual_seed(0)
        levels = [dict(in_index=i, in_channels=width, stride=4, boundary_channels=8, displacement_channels=8,
                       displacement_groups=4) for i, width in enumerate((12, 16, 16))]
        return MODELS.build(dict(
            type='wsss_mm.IRNet', levels=levels, channels=8, groups=4,
            backbone=dict(type='wsss_mm.ToyNet', channels=(8, 12, 16), out_indices=(0, 1, 2)))).eval()


@torch.no_grad()
def extract(generator, model, inputs):
    images = [np.zeros((*inputs.shape[2:], 3), np.uint8)] * len(inputs)
    return generator.extract_batch(model, images, inputs, [SegDataSample() for _ in inputs])


@pytest.mark.parametrize(('options', 'padded'), [
    (dict(pad_to=64, divisor=16), (64, 64)), (dict(pad_to=0, divisor=16), (48, 48)),
    (dict(pad_to=40, divisor=4), (40, 48))])
def test_padding_and_the_mean_of_both_views(options, padded, model):
    inputs = torch.randn(2, 3, 38, 45)
    found = extract(IRNLabels('maps', **options), model, inputs)
    with torch.no_grad():
        views = [torch.nn.functional.pad(x, (0, padded[1] - 45, 0, padded[0] - 38)) for x in (inputs, inputs.flip(3))]
        plain, mirrored = (model.predict(view) for view in views)
    logits = (plain['boundary'][:, 0, :10, :12] + mirrored['boundary'][:, 0, :10, :12].flip(2)) / 2
    for i in range(2):
        torch.testing.assert_close(found[i]['boundary'], logits[i].sigmoid(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found[i]['displacement'], plain['displacement'][i, :, :10, :12], rtol=1e-4,
                                   atol=1e-5)


def test_the_mirrored_image_has_the_mirrored_boundary(model):
    inputs = torch.randn(1, 3, 32, 48)
    plain, = extract(IRNLabels('maps', pad_to=0), model, inputs)
    mirrored, = extract(IRNLabels('maps', pad_to=0), model, inputs.flip(3))
    torch.testing.assert_close(mirrored['boundary'].flip(1), plain['boundary'], rtol=1e-4, atol=1e-6)


def test_padded_inputs_are_refused(model):
    generator = IRNLabels('maps')
    with pytest.raises(ConfigError, match='unpadded'):
        generator.extract_batch(model, [np.zeros((30, 40, 3), np.uint8)], torch.zeros(1, 3, 32, 48), [None])
    assert generator.constants(model)['stride'] == 4
