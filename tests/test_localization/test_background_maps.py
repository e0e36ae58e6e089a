"""BANA's maps: the published code's numbers, the plain formulation, values by hand."""

import pytest
import torch
import torch.nn.functional as F

from wsss_mm.errors import ConfigError
from wsss_mm.localization import (
    UpsampledFeatures,
    background_attention,
    background_queries,
    box_class_maps,
    box_masks,
    crf_input,
    crf_labels,
    pixel_boxes,
    retrieval_maps,
    threshold_background,
)


@pytest.mark.parametrize('name', ['single_class', 'two_class_overlap'])
def test_published_codes_numbers(parity, name):
    z = parity(f'bana/pseudo_{name}_gs1')
    height, width = z['bg_mask'].shape
    features = UpsampledFeatures(z['features'], height, width)
    boxes = pixel_boxes(z['boxes_pixel'][:, :4], height, width, 'official')
    assert boxes.equal(z['boxes_int'][:, :4])
    ids, index = z['boxes_int'][:, 4].unique(return_inverse=True)
    inside = box_masks(boxes, index, len(ids), height, width)
    background = ~inside.any(0)
    assert background.equal(z['bg_mask'] == 1)

    def close(found, wanted):
        assert (found - wanted).abs().max() < 1e-6

    close(background_queries(features, background), z['queries'])
    attention = background_attention(features, background)
    close(attention, z['attention_per_query'].mean(0))
    u_0 = threshold_background(attention, background)
    close(u_0, z['u0'][0])
    u_c = box_class_maps(features, z['classifier_weight'][ids], boxes, index)
    close(u_c, z['uc'])
    close(crf_input(u_0, u_c, background), z['crf_input_prob'])

    id_of = torch.cat([ids.new_zeros(1), ids])
    y_crf = crf_labels(z['crf_Q'], inside)
    assert id_of[y_crf].equal(z['Y_crf'].long())
    maps = retrieval_maps(features, y_crf, z['classifier_weight'][id_of], inside)
    close(maps, z['corr_maps'])
    assert id_of[maps.argmax(0)].equal(z['Y_ret'].long())


@pytest.mark.parametrize('grid_size', [1, 2, 4])
@pytest.mark.parametrize('size, low', [((41, 53), (6, 7)), ((24, 30), (3, 5)), ((9, 33), (1, 5))])
def test_equals_the_full_resolution_formulation(grid_size, size, low):
    """Cells by padding the mask to a multiple of the grid, as the method does; features really up-sampled."""
    height, width = size
    f = torch.rand(24, *low, dtype=torch.float64)
    full = F.interpolate(f[None], size, mode='bilinear', align_corners=True)[0]
    background = torch.ones(size, dtype=torch.bool)
    background[2:, 4:25] = False

    pad = []
    for n in (width, height):
        deficit = -n % grid_size
        pad += [deficit // 2, deficit - deficit // 2] if deficit % 2 == 0 else [0, deficit]
    mask, padded = F.pad(background.double(), pad), F.pad(full, pad)
    tall, wide = mask.shape[0] // grid_size, mask.shape[1] // grid_size
    queries = []
    for i in range(grid_size):
        for j in range(grid_size):
            cell = slice(i * tall, i * tall + tall), slice(j * wide, j * wide + wide)
            if mask[cell].any():
                queries.append((padded[:, cell[0], cell[1]] * mask[cell]).sum((1, 2)) / mask[cell].sum())
    queries = torch.stack(queries)
    cosines = torch.einsum('qd,dhw->qhw', F.normalize(queries, dim=1), F.normalize(full, dim=0)).relu()

    features = UpsampledFeatures(f, *size)
    torch.testing.assert_close(background_queries(features, background, grid_size), queries)
    torch.testing.assert_close(background_attention(features, background, grid_size), cosines.mean(0))


def test_attention_without_background_is_zero_and_finite():
    features = UpsampledFeatures(torch.rand(4, 3, 3), 9, 9)
    assert not background_attention(features, torch.zeros(9, 9, dtype=torch.bool)).any()


def test_threshold_modes():
    """The relative threshold counts the maximum outside boxes too; survivors keep their value."""
    attention = torch.tensor([.8, .795, .79, .5])
    background = torch.tensor([True, False, False, False])
    torch.testing.assert_close(threshold_background(attention, background), torch.tensor([1., .795, 0., 0.]))
    torch.testing.assert_close(threshold_background(attention, background, .79, 'absolute'),
                               torch.tensor([1., .795, .79, 0.]))
    with pytest.raises(ConfigError, match='threshold_mode'):
        threshold_background(attention, background, mode='percentile')


def test_box_maxima():
    """A map of 1…6 in one row; the later box overwrites the earlier one of its class, the other class is apart."""
    features = UpsampledFeatures(torch.arange(1., 7).view(1, 1, 6), 1, 6)
    boxes = torch.tensor([[0, 0, 4, 1], [2, 0, 6, 1], [1, 0, 2, 1]])
    index, weights = torch.tensor([0, 0, 1]), torch.tensor([[2.], [-1.]])
    per_box = box_class_maps(features, weights, boxes, index)
    torch.testing.assert_close(per_box[:, 0], torch.tensor([[.25, .5, .5, 4 / 6, 5 / 6, 1.], [0.] * 6]))
    per_class = box_class_maps(features, weights, boxes[:2], index[:2], 'per_class')
    torch.testing.assert_close(per_class[0, 0], torch.arange(1., 7) / 6)
    with pytest.raises(ConfigError, match='box_max'):
        box_class_maps(features, weights, boxes, index, 'per_image')


def test_crf_input_by_hand():
    u_0, u_c = torch.tensor([[1., 0.]]), torch.tensor([[[0., 1.]], [[0., 0.]]])
    background = torch.tensor([[True, False]])
    e = torch.e
    torch.testing.assert_close(crf_input(u_0, u_c, background)[:, 0],
                               torch.tensor([[1., 1 / (e + 2)], [0., e / (e + 2)], [0., 1 / (e + 2)]]))
    assert crf_input(u_0, u_c, background, unary_softmax=False)[:, 0].tolist() == [[1., 0.], [0., 1.], [0., 0.]]


def test_a_class_stays_in_its_boxes_and_ties_go_to_the_background():
    posterior = torch.tensor([[[.2, .4]], [[.5, .4]], [[.3, .2]]])
    inside = torch.tensor([[[False, True]], [[True, False]]])
    assert crf_labels(posterior, inside).tolist() == [[2, 0]]


def test_retrieval_falls_back_to_given_prototypes():
    """Class 2 has no pixel in the labels: its prototype is the fallback, which fits the last pixel."""
    features = UpsampledFeatures(torch.eye(3).view(3, 1, 3), 1, 3)
    labels, inside = torch.tensor([[0, 1, 0]]), torch.tensor([[[False, True, True]], [[False, True, True]]])
    maps = retrieval_maps(features, labels, torch.tensor([[9., 9., 9.], [9., 9., 9.], [0., 0., 5.]]), inside)
    half = .5 ** .5
    torch.testing.assert_close(maps[:, 0], torch.tensor([[1., 0., half], [0., 1., 0.], [0., 0., 1.]]))


def test_flip():
    """Corners are aligned, so a mirrored image gives mirrored maps."""
    f, size = torch.rand(16, 5, 7, dtype=torch.float64), (31, 44)
    background = torch.ones(size, dtype=torch.bool)
    boxes = torch.tensor([[5, 6, 25, 28]])
    background[6:28, 5:25] = False
    flipped = torch.tensor([[44 - 25, 6, 44 - 5, 28]])
    one, two = UpsampledFeatures(f, *size), UpsampledFeatures(f.flip(2), *size)
    torch.testing.assert_close(background_attention(two, background.flip(1)),
                               background_attention(one, background).flip(1))
    weights, index = torch.randn(1, 16, dtype=torch.float64), torch.tensor([0])
    torch.testing.assert_close(box_class_maps(two, weights, flipped, index),
                               box_class_maps(one, weights, boxes, index).flip(2))
