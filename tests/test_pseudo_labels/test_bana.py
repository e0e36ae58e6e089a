"""BANALabels: published labels, edge cases, the options."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.pseudo_labels.bana import BANALabels
from wsss_mm.structures import ClassMaps, ImageSample

CRF = dict(type='wsss_mm.DenseCRF', bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3, gaussian_weight=3,
           gaussian_xy=3)
# No update: the posterior is the input, so the maps alone decide.
NO_CRF = dict(CRF, iterations=0, backend='torch')


def make_sample(boxes, labels, height=40, width=56, image=None):
    if image is None:
        image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return ImageSample('a', image, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64),
                       np.unique(labels))


def make_features(low=(5, 7), channels=8, classes=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (dict(features=torch.rand(channels, *low, generator=generator)),
            dict(weight=torch.randn(classes + 1, channels, generator=generator)))


def scene(boxes, labels, height=41, width=57):
    """An object of feature (0, 1) at rows 2-3, columns 2-4 of a 6 x 8 map, on ground of feature (1, 0)."""
    f = torch.zeros(2, 6, 8)
    f[0] = 1
    f[:, 2:4, 2:5] = torch.tensor([0., 1.])[:, None, None]
    sample = make_sample(boxes, labels, height, width, np.zeros((height, width, 3), np.uint8))
    weight = torch.zeros(21, 2)
    weight[0, 0] = weight[7, 1] = 1
    return sample, dict(features=f), dict(weight=weight)


@pytest.mark.parametrize('backend', ['pydensecrf', 'torch'])
@pytest.mark.parametrize('name', ['single_class', 'two_class_overlap'])
def test_published_labels(parity, name, backend):
    """pydensecrf: every pixel; the PyTorch lattice rounds otherwise, so 99.9 %."""
    if backend == 'pydensecrf':
        pytest.importorskip('pydensecrf')
    z = parity(f'bana/pseudo_{name}_gs1')
    sample = ImageSample('a', z['image_rgb'].numpy(), z['boxes_pixel'][:, :4].numpy(),
                         z['boxes_pixel'][:, 4].long().numpy(), z['present_classes'].numpy())
    result = BANALabels(dict(CRF, backend=backend)).label(sample, dict(features=z['features']),
                                                          dict(weight=z['classifier_weight']))
    least = 1 if backend == 'pydensecrf' else .999
    for output in ('Y_crf', 'Y_ret'):
        assert result.labels[output].dtype == np.uint8
        assert (result.labels[output] == z[output].numpy()).mean() >= least
    assert result.notes == [] and result.maps is None


def test_object_is_found_in_its_box():
    sample, features, constants = scene([[9, 8, 49, 33]], [7])
    result = BANALabels(NO_CRF).label(sample, features, constants)
    for labels in result.labels.values():
        assert labels[20, 24] == 7 and labels[9, 10] == 0 and labels[30, 46] == 0
        assert set(np.unique(labels)) == {0, 7}


def test_image_without_boxes():
    features, constants = make_features()
    result = BANALabels(CRF, save_maps=True).label(make_sample([], []), features, constants)
    for labels in result.labels.values():
        assert labels.shape == (40, 56) and labels.dtype == np.uint8 and not labels.any()
    assert result.notes == [] and result.maps.maps.shape == (0, 40, 56) and (result.maps.background == 1).all()


def test_whole_image_box_is_noted_and_not_all_background():
    """The published code writes NaN here and ends with background everywhere."""
    sample, features, constants = scene([[0, 0, 57, 41]], [7])
    result = BANALabels(NO_CRF, save_maps=True).label(sample, features, constants)
    assert len(result.notes) == 1 and 'no pixel outside the boxes' in result.notes[0]
    assert not result.maps.background.any()
    for labels in result.labels.values():
        assert labels[20, 24] == 7 and labels[1, 1] == 0


@pytest.mark.parametrize('boxes', [
    [[10.2, 10.2, 10.4, 30.]],                                # no whole pixel; empty once truncated
    [[12, 3, 13, 38]],                                        # thinner than a cell of features
    [[-20, -20, 5, 5], [50, 35, 99, 99]],                     # beyond the image
    [[5, 5, 30, 30], [10, 10, 40, 35], [5, 5, 30, 30]],       # overlapping, two of them alike
])
@pytest.mark.parametrize('rounding', ['official', 'exact'])
@pytest.mark.parametrize('grid_size', [1, 4])
def test_odd_boxes(boxes, rounding, grid_size):
    features, constants = make_features()
    labels = [3, 9, 4][:len(boxes)]
    generator = BANALabels(NO_CRF, grid_size=grid_size, box_rounding=rounding, save_maps=True)
    result = generator.label(make_sample(boxes, labels), features, constants)
    assert np.isfinite(result.maps.maps).all() and np.isfinite(result.maps.background).all()
    for found in result.labels.values():
        assert set(np.unique(found)) <= {0, *labels}


def test_rounding_changes_the_boxes():
    sample, features, constants = scene([[9, 8, 48.5, 32.5]], [7])
    constants['weight'][0] = 0   # then the background's map is 0 exactly inside the boxes
    inside = {}
    for rounding in ('official', 'exact'):
        generator = BANALabels(NO_CRF, background='class_map', box_rounding=rounding, save_maps=True)
        inside[rounding] = generator.label(sample, features, constants).maps.background < 1
    assert inside['exact'][32, 20] and not inside['official'][32, 20]
    assert inside['exact'][20, 48] and not inside['official'][20, 48]


def test_class_beyond_the_classifier():
    features, constants = make_features()
    with pytest.raises(DataError, match='class 33, the classifier has 20'):
        BANALabels(CRF).label(make_sample([[1, 1, 9, 9]], [33]), features, constants)


def test_class_agnostic_labels_unseen_classes():
    sample, features, constants = scene([[9, 8, 49, 33]], [77])
    result = BANALabels(NO_CRF, class_agnostic=True).label(sample, features, constants)
    for labels in result.labels.values():
        assert labels[20, 24] == 77 and labels[9, 10] == 0


def test_class_agnostic_overlap_goes_to_the_smaller_box_in_any_order():
    boxes, labels = [[2, 2, 50, 36], [15, 10, 36, 30]], [30, 40]
    sample, features, _ = scene(boxes, labels)
    turned, _, _ = scene(boxes[::-1], labels[::-1])
    generator = BANALabels(NO_CRF, class_agnostic=True, save_maps=True)
    one, two = (generator.label(s, features, {}) for s in (sample, turned))
    assert one.maps.class_ids.tolist() == [30, 40]
    assert not one.maps.maps[0, 10:30, 15:36].any() and one.maps.maps[1, 20, 24] == 1
    assert one.labels['Y_crf'][20, 24] == 40
    for output, found in one.labels.items():
        assert (found == two.labels[output]).all()
    with pytest.raises(ConfigError, match='class_agnostic'):
        BANALabels(CRF, class_agnostic=True, background='class_map')
    with pytest.raises(ConfigError, match="'class_map' or 'zero'"):
        BANALabels(CRF, background='none')


def test_class_map_of_the_background_in_place_of_u_0():
    """The paper's "w/o u_0": up-sample the features plainly, weigh them by row 0, divide by the image's maximum."""
    features, constants = make_features()
    constants['weight'][0] = features['features'].mean((1, 2))
    sample = make_sample([[5, 5, 40, 30]], [3])
    found = BANALabels(NO_CRF, background='class_map', box_rounding='exact', save_maps=True).label(
        sample, features, constants).maps.background
    full = torch.nn.functional.interpolate(features['features'][None], (40, 56), mode='bilinear', align_corners=True)[0]
    raw = torch.einsum('c,chw->hw', constants['weight'][0], full).relu()
    expected = (raw / raw.max()).numpy()
    inside = np.zeros((40, 56), bool)
    inside[5:30, 5:40] = True
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)
    assert (found[~inside] == 1).all() and expected[inside].max() > 0
    zero = BANALabels(NO_CRF, background='zero', box_rounding='exact', save_maps=True).label(
        sample, features, constants)
    assert (zero.maps.background == ~inside).all() and zero.notes == []


def test_what_the_crf_gets():
    """The maps side by side, or their softmax: at the object u_0 is 0 and u_c is 1."""
    sample, features, constants = scene([[9, 8, 49, 33]], [7])
    seen = {}

    class Keep:
        def __init__(self, key):
            self.key = key

        def __call__(self, image, probabilities):
            seen[self.key] = probabilities
            return probabilities

    for softmax in (True, False):
        generator = BANALabels(NO_CRF, unary_softmax=softmax, save_maps=True)
        generator.refiner = Keep(softmax)
        maps = generator.label(sample, features, constants).maps
    np.testing.assert_array_equal(seen[False], np.stack([maps.background, maps.maps[0]]))
    np.testing.assert_allclose(seen[True][:, 20, 24], [1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-5)


def test_saved_maps_survive_their_file(tmp_path):
    features, constants = make_features()
    maps = BANALabels(NO_CRF, save_maps=True).label(make_sample([[5, 5, 40, 30]], [3]), features, constants).maps
    (tmp_path / 'a.npz').write_bytes(maps.to_bytes())
    loaded = ClassMaps.load(tmp_path / 'a.npz')
    np.testing.assert_allclose(loaded.maps, maps.maps, atol=1e-3)
    np.testing.assert_allclose(loaded.background, maps.background, atol=1e-3)
    assert loaded.class_ids.tolist() == [3]


def test_pickled_generator_gives_the_same_labels():
    features, constants = make_features()
    sample, generator = make_sample([[5, 5, 40, 30]], [3]), BANALabels(NO_CRF)
    again = pickle.loads(pickle.dumps(generator)).label(sample, features, constants)
    for output, labels in generator.label(sample, features, constants).labels.items():
        assert (labels == again.labels[output]).all()


class Classifier:
    """As much of a classifier as the generator uses: level 1 is the head's."""

    def __init__(self, rows, num_classes):
        self.head = SimpleNamespace(weight_matrix=torch.arange(rows * 2.).view(rows, 2).requires_grad_(), in_index=1,
                                    num_classes=num_classes)

    def extract_feat(self, inputs):
        return inputs, inputs[:, :, ::8, ::8].double()


def test_constants_always_have_a_background_row():
    weight = BANALabels(CRF).constants(Classifier(4, 3))['weight']
    assert weight.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]] and not weight.requires_grad
    assert BANALabels(CRF).constants(Classifier(3, 3))['weight'].tolist() == [[0, 0], [0, 1], [2, 3], [4, 5]]


def test_extract_takes_the_heads_level_and_refuses_padding():
    model, inputs = Classifier(4, 3), torch.rand(1, 3, 30, 41)
    sample = SegDataSample(metainfo=dict(img_shape=(30, 41)))
    found = BANALabels(CRF).extract(model, inputs, sample)['features']
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, inputs[0, :, ::8, ::8])
    with pytest.raises(ConfigError, match='padded'):
        BANALabels(CRF).extract(model, torch.rand(1, 3, 32, 64), sample)
