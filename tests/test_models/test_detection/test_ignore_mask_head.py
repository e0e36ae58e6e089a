"""Mask head with ignored pixels: the usual loss where there are none, growth by hand, no gradient on ignored ones."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from wsss_mm.errors import ConfigError
from wsss_mm.registry import MODELS

mmdet = pytest.importorskip('mmdet')
from mmdet.models.task_modules.samplers import SamplingResult  # noqa: E402
from mmdet.structures.mask import BitmapMasks, PolygonMasks  # noqa: E402

from wsss_mm.models.detection import grow_masks, ignoring_mask_loss  # noqa: E402

CFG = ConfigDict(mask_size=28)


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def head(kind='wsss_mm.IgnoreFCNMaskHead', **options):
    return MODELS.build(dict(
        type=kind, num_convs=1, in_channels=4, conv_out_channels=4, num_classes=3,
        loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=2.), **options))


def sampled(masks, boxes=None, labels=None):
    """Sampling results and instances of one image whose RoIs are given boxes, one for each mask."""
    height, width = masks.shape[1:]
    if boxes is None:
        boxes = [[2, 2, 30, 30], [10.3, 4.7, 35.2, 39.]][:len(masks)]
    boxes = torch.tensor(boxes, dtype=torch.float32)
    labels = torch.tensor([0, 2][:len(masks)]) if labels is None else labels
    instances = InstanceData(bboxes=boxes, labels=labels, masks=BitmapMasks(masks, height, width))
    result = SamplingResult.__new__(SamplingResult)
    result.pos_priors, result.pos_assigned_gt_inds = boxes.clone(), torch.arange(len(masks))
    result.pos_gt_labels = labels
    return [result], [instances]


def ternary(seed=0, ignored=True):
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, 40, 40), np.uint8)
    masks[0, 5:20, 6:25], masks[1, 10:38, 12:30] = 1, 1
    if ignored:
        masks[0, 15:20, 6:25] = 2
        masks[1][rng.random((40, 40)) < .2] = 2
    return masks


def pixels(*rows):
    return torch.tensor([[c == '#' for c in row] for row in rows])[None]


def test_without_growing_and_ignored_pixels_the_loss_is_the_stock_heads():
    preds = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    results, instances = sampled(ternary(ignored=False))
    stock = head('FCNMaskHead').loss_and_target(preds, results, instances, CFG)
    found = head(grow=None, balanced=False).loss_and_target(preds, results, instances, CFG)
    assert found['loss_mask']['loss_mask'].item() == stock['loss_mask']['loss_mask'].item()
    assert torch.equal(found['mask_targets'], stock['mask_targets'])
    assert found['loss_mask']['used_mask_pixels'] == 1


def test_targets_are_two_crops_and_keep_ignored_pixels_apart():
    masks = ternary()
    found = head().get_targets(*sampled(masks), CFG)
    stock = head('FCNMaskHead')
    sure = stock.get_targets(*sampled((masks == 1).astype(np.uint8)), CFG)
    maybe = stock.get_targets(*sampled((masks >= 1).astype(np.uint8)), CFG)
    assert torch.equal(found == 1, sure == 1) and torch.equal(found > 0, maybe == 1)
    assert set(found.unique().tolist()) == {0, 1, 2}


@pytest.mark.parametrize('balanced', [True, False])
def test_ignored_pixels_and_other_classes_have_no_gradient(balanced):
    preds = torch.zeros(2, 3, 28, 28, requires_grad=True)
    results, instances = sampled(ternary())
    one = head(grow=None, balanced=balanced)
    found = one.loss_and_target(preds, results, instances, CFG)
    found['loss_mask']['loss_mask'].backward()
    targets = found['mask_targets']
    own = preds.grad[[0, 1], [0, 2]]
    assert (own[targets == 2] == 0).all() and (own[targets == 1] < 0).all() and (own[targets == 0] > 0).all()
    assert preds.grad[0, 1:].abs().sum() == 0 and preds.grad[1, :2].abs().sum() == 0


def test_balanced_loss_by_hand_and_its_gradient():
    logits = torch.tensor([[[0., 2., -1., 3.]]], dtype=torch.float64, requires_grad=True)
    positive = torch.tensor([[[True, True, False, False]]])
    negative = torch.tensor([[[False, False, True, False]]])
    log1p = np.log1p
    means = (np.log(2) + log1p(np.exp(-2))) / 2, log1p(np.exp(-1))
    assert ignoring_mask_loss(logits, positive, negative).item() == pytest.approx(sum(means) / 2)
    plain = (np.log(2) + log1p(np.exp(-2)) + log1p(np.exp(-1))) / 3
    assert ignoring_mask_loss(logits, positive, negative, balanced=False).item() == pytest.approx(plain)
    for balanced in (True, False):
        assert torch.autograd.gradcheck(lambda x, b=balanced: ignoring_mask_loss(x, positive, negative, b), logits)


def test_an_empty_set_gives_zero_and_zero_gradients():
    logits = torch.randn(2, 5, 5, requires_grad=True)
    everything, nothing = torch.ones(2, 5, 5, dtype=torch.bool), torch.zeros(2, 5, 5, dtype=torch.bool)
    for sets in ((everything, nothing), (nothing, everything), (nothing, nothing)):
        loss = ignoring_mask_loss(logits, *sets)
        gradient, = torch.autograd.grad(loss, logits)
        assert loss == 0 and gradient.abs().sum() == 0
    one = head()
    found = one.loss_and_target(one(torch.zeros(0, 4, 14, 14)), *sampled(np.zeros((0, 40, 40), np.uint8), np.zeros(
        (0, 4)), torch.zeros(0, dtype=torch.long)), CFG)['loss_mask']
    found['loss_mask'].backward()
    assert found['loss_mask'] == 0 and all(p.grad.abs().sum() == 0 for p in one.conv_logits.parameters())


SURE = pixels('##....',
              '......',
              '......',
              '#....#')
MAYBE = pixels('####..',
               '####..',
               '#.....',
               '#.####')
CONFIDENT = pixels('###.##',    # the pair at the right is sure background
                   '...#..',
                   '......',
                   '...##.')


def test_growth_to_confident_neighbours_by_hand():
    probabilities = torch.where(CONFIDENT, .95, .5)
    grown, background = grow_masks(SURE, MAYBE, probabilities, 'neighbour', .9)
    # the first row's third pixel joins, and the second row's, which touches it at a corner; so do the two of the last
    # row, beside a seed; the lone seed at the left is dropped
    assert torch.equal(grown, pixels('###...', '...#..', '......', '...###'))
    assert torch.equal(background, ~MAYBE)


def test_growth_from_seeds_by_hand():
    probabilities = torch.where(CONFIDENT, .95, .5)
    grown, background = grow_masks(SURE, MAYBE, probabilities, 'connected', .9)
    assert torch.equal(grown, pixels('###...', '...#..', '......', '#..###')) and torch.equal(background, ~MAYBE)
    island = pixels('......', '......', '......', '...#..')
    grown, _ = grow_masks(SURE & ~pixels('......', '......', '......', '.....#'), MAYBE, torch.where(
        island | pixels('......', '......', '......', '....#.'), .95, .5), 'connected', .9)
    assert not grown[0, 3, 3:].any(), 'an island far from any seed must not join'


@pytest.mark.parametrize('rule', ['neighbour', 'connected', None])
def test_growth_of_the_background_mirrors_that_of_the_object(rule):
    generator = torch.Generator().manual_seed(1)
    sure = torch.rand(5, 28, 28, generator=generator) < .2
    maybe = sure | (torch.rand(5, 28, 28, generator=generator) < .5)
    probabilities = torch.rand(5, 28, 28, generator=generator)
    grown, background = grow_masks(sure, maybe, probabilities, rule)
    assert not (grown & background).any() and not (grown & ~maybe).any() and not (background & sure).any()
    mirrored, mirrored_background = grow_masks(~maybe, ~sure, 1 - probabilities, rule)
    assert torch.equal(grown, mirrored_background) and torch.equal(background, mirrored)
    alone = [grow_masks(sure[i:i + 1], maybe[i:i + 1], probabilities[i:i + 1], rule)[0] for i in range(5)]
    assert torch.equal(grown, torch.cat(alone))
    flipped, _ = grow_masks(sure.flip(2), maybe.flip(2), probabilities.flip(2), rule)
    assert torch.equal(grown, flipped.flip(2))


def test_neighbour_rule_equals_its_plain_form():
    generator = torch.Generator().manual_seed(2)
    sure = torch.rand(2, 12, 12, generator=generator) < .1
    maybe = sure | (torch.rand(2, 12, 12, generator=generator) < .6)
    probabilities = torch.rand(2, 12, 12, generator=generator)
    expected = np.zeros((2, 2, 12, 12), bool)
    joined = np.stack([sure | (probabilities > .9) & maybe, ~maybe | (probabilities < .1) & ~sure])
    for index in np.ndindex(*joined.shape):
        y, x = index[2:]
        window = joined[index[0], index[1], max(y - 1, 0):y + 2, max(x - 1, 0):x + 2]
        expected[index] = joined[index] and window.sum() > 1
    grown, background = grow_masks(sure, maybe, probabilities)
    assert np.array_equal(grown, expected[0]) and np.array_equal(background, expected[1])


def test_class_agnostic_heads_use_their_one_mask():
    preds = torch.randn(2, 1, 28, 28, requires_grad=True)
    found = head(class_agnostic=True).loss_and_target(preds, *sampled(ternary()), CFG)
    assert found['loss_mask']['loss_mask'] > 0 and 0 < found['loss_mask']['used_mask_pixels'] < 1


@pytest.mark.parametrize('options', [dict(grow='far'), dict(grow_threshold=.3)])
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match='IgnoreFCNMaskHead'):
        head(**options)


def test_another_loss_and_polygons_are_refused():
    with pytest.raises(ConfigError, match='loss_mask'):
        MODELS.build(dict(type='wsss_mm.IgnoreFCNMaskHead', num_classes=3, loss_mask=dict(type='DiceLoss')))
    results, instances = sampled(ternary())
    instances[0].masks = PolygonMasks([[np.array([1., 1, 9, 1, 9, 9])]] * 2, 40, 40)
    with pytest.raises(ConfigError, match='polygons'):
        head().get_targets(results, instances, CFG)
