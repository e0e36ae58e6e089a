"""BBAM of tiny detectors: against a plain loop, alone and in batches, and what cannot be explained.

Detectors are in float64 where trajectories are compared. The loss has kinks, and a rounding that falls on the other
side of one moves a cell by up to twice the learning rate; float64 tells a wrong term from a rounding.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_mm.errors import ConfigError
from wsss_mm.explainers import BBAMExplainer, bbam, bbam_masks, explained_input, proposal_explainer
from wsss_mm.explainers.bbam_proposals import box_iou, initial_mask, jittered_boxes, object_seed
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ObjectMaps

SMALL = dict(scale=None, stride=(3, 8), n_jitter=200, iterations=30, iou_ladder=(.3, .1, .0), max_positives=20)


def explainer(**options):
    return BBAMExplainer(**{**SMALL, **options})


@pytest.fixture
def known(detector, scenes):
    """The detector, and the scenes with labels that it gives most proposals."""
    model = detector('fpn')
    with torch.no_grad():
        labels = []
        for image, boxes in zip(scenes['images'], scenes['boxes'], strict=True):
            features = model.extract_feat(explained_input(model, image, None)[0])
            rois = torch.from_numpy(np.concatenate([np.zeros((len(boxes), 1), np.float32), boxes], 1))
            labels.append(model.roi_head._bbox_forward(features, rois)['cls_score'][:, :3].argmax(1).numpy())
    # background is made unlikely, so that every object has positives
    model = copy.deepcopy(model)
    model.roi_head.bbox_head.fc_cls.bias.data[3] = -5
    return model.double(), {**scenes, 'labels': labels}


def plain_mask(model, image, box, label, seed, options):
    """One object as published: the whole detector, F.interpolate, torch's Adam."""
    inputs = explained_input(model, image, None)[0]
    shape = inputs.shape[2:]
    rois = torch.from_numpy(jittered_boxes(box, shape, options['n_jitter'], .3, seed)).to(inputs)

    def predict(pixels, boxes):
        found = model.roi_head._bbox_forward(model.extract_feat(pixels), F.pad(boxes, (1, 0)))
        return found['cls_score'].softmax(1), found['bbox_pred'].view(len(boxes), 3, 4)[:, label]
    with torch.no_grad():
        scores, deltas = predict(inputs, rois)
        decoded = model.roi_head.bbox_head.bbox_coder.decode(rois, deltas)
        for threshold in options['iou_ladder']:
            near = box_iou(decoded, torch.from_numpy(box)) > threshold
            chosen = ((scores.argmax(1) == label) & near).nonzero()[:, 0]
            if len(chosen) > options['max_positives']:
                break
        chosen = chosen[:options['max_positives']]
        rois = rois[chosen]
        target, offsets = predict(inputs, rois)
    area = (box[2] - box[0]) * (box[3] - box[1]) / (shape[0] * shape[1])
    stride = options['stride'][0] + options['stride'][1] * area ** .5
    grid = (int(shape[0] / stride), int(shape[1] / stride))
    mask = (.8 * initial_mask(decoded[chosen], stride, grid)).to(inputs).requires_grad_()
    optimiser = torch.optim.Adam([mask], lr=.02)
    for _ in range(options['iterations']):
        enlarged = F.interpolate(mask[None, None], shape, mode='bilinear', align_corners=True)
        scores, deltas = predict(inputs * enlarged, rois)
        loss = .5 * (deltas - offsets).abs().mean(1).mean() + .5 * (scores - target)[:, label].abs().mean()
        differences = (mask[1:] - mask[:-1], mask[:, 1:] - mask[:, :-1], mask[1:, 1:] - mask[:-1, :-1],
                       mask[1:, :-1] - mask[:-1, 1:])
        variation = sum(w * (d.abs() ** 3).sum() for w, d in zip((1, 1, 2, 2), differences, strict=True))
        loss = loss + .007 * mask.abs().sum() + 1e-4 * variation
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        mask.data.clamp_(0, 1)
    return mask.detach().numpy()


def same(found: list[ObjectMaps], expected: list[ObjectMaps], atol: float = 1e-6):
    for a, b in zip(found, expected, strict=True):
        assert a.statuses == b.statuses and a.positives.tolist() == b.positives.tolist()
        assert a.iterations.tolist() == b.iterations.tolist()
        for x, y in zip(a.grids, b.grids, strict=True):
            np.testing.assert_allclose(x, y, atol=atol)


def test_masks_are_those_of_the_plain_loop(known, monkeypatch):
    model, scenes = known
    # where the first mask is 1 all over what a proposal depends on, its change is a rounding of either sign
    monkeypatch.setattr(proposal_explainer, 'initial_mask', lambda *arguments: .8 * initial_mask(*arguments))
    options = {**SMALL, 'iterations': 15}
    found = explainer(iterations=15).explain(model, **scenes)
    differences = []
    for i, maps in enumerate(found):
        assert set(maps.statuses) <= {'ok', 'tiny'}, maps.statuses
        for k, grid in enumerate(maps.grids):
            seed = object_seed(0, scenes['image_ids'][i], scenes['ids'][i][k])
            expected = plain_mask(model, scenes['images'][i], scenes['boxes'][i][k], scenes['labels'][i][k], seed,
                                  options)
            assert 0 < grid.mean() < 1
            differences.append(np.abs(grid - expected))
    assert max(d.max() for d in differences) < 1e-5
    assert found[0].input_shape == (64, 96) and found[0].labels.tolist() == (scenes['labels'][0] + 1).tolist()


@pytest.mark.parametrize('kind', ['agnostic', 'mask', 'cascade', 'c4', 'no_boxes'])
def test_one_by_one_is_the_same_as_all_together(kind, detector, scenes):
    model = copy.deepcopy(detector(kind))
    model.double()
    heads = model.roi_head.bbox_head
    for head in heads if kind == 'cascade' else [heads]:
        head.fc_cls.bias.data[3] = -5
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        together = explainer(iterations=5).explain(model, **scenes)
        alone = [explainer(iterations=5).explain(model, *([scenes[k][i]] for k in (
            'images', 'boxes', 'labels', 'ids', 'image_ids')))[0] for i in range(3)]
    same(together, alone)
    assert any(n > 0 for maps in together for n in maps.positives)


@pytest.mark.parametrize('max_batch', [1, 2])
def test_neither_order_nor_size_of_the_batch_matters(known, max_batch):
    model, scenes = known
    expected = explainer(max_batch=3, iterations=12).explain(model, **scenes)
    turned = {k: v[::-1] for k, v in scenes.items()}
    for key in ('boxes', 'labels', 'ids'):
        turned[key] = [x[::-1].copy() for x in turned[key]]
    found = explainer(max_batch=max_batch, iterations=12).explain(model, **turned)[::-1]
    for maps in found:
        for name in ('grids', 'statuses', 'positives', 'iterations', 'ids'):
            setattr(maps, name, getattr(maps, name)[::-1])
    same(found, expected)
    assert [m.ids.tolist() for m in found] == [m.ids.tolist() for m in expected]


def test_an_object_that_is_done_makes_room(known, monkeypatch):
    model, scenes = known
    # the early stop looks at each by its own steps: objects leave at different times
    monkeypatch.setattr(bbam_masks, '_stands_still',
                        lambda job, loss: job.steps == 4 * (1 + job.record.ids[job.index] % 3))
    monkeypatch.setattr(bbam_masks, '_LOOK_EVERY', 4)
    sizes = []
    make = bbam_masks._Batch.__init__
    monkeypatch.setattr(bbam_masks._Batch, '__init__', lambda self, adapter, jobs, settings: (
        sizes.append(len(jobs)), make(self, adapter, jobs, settings))[1])
    found = explainer(max_batch=2, early_stop=True, iterations=12).explain(model, **scenes)
    assert [m.iterations.tolist() for m in found] == [[12, 4], [4], [8, 12]]
    assert max(sizes) == 2
    alone = explainer(max_batch=1, early_stop=True, iterations=12).explain(model, **scenes)
    same(found, alone)


def test_another_seed_draws_others(known):
    model, scenes = known
    first, again, other = (explainer(seed=s, iterations=5).explain(model, **scenes) for s in (0, 0, 1))
    same(first, again, atol=0)
    assert not np.allclose(first[1].grids[0], other[1].grids[0], atol=1e-3)
    renamed = explainer(iterations=5).explain(model, **{**scenes, 'image_ids': ['x', 'b', 'c']})
    assert not np.allclose(first[0].grids[0], renamed[0].grids[0], atol=1e-3)
    np.testing.assert_array_equal(first[2].grids[0], renamed[2].grids[0])


def test_presets_differ_as_the_sources_do():
    official, paper = BBAMExplainer().settings, BBAMExplainer('paper').settings
    assert (official.box_weight, official.cls_weight, official.tv, official.max_positives) == (.5, .5, 1e-4, 100)
    assert (paper.box_weight, paper.cls_weight, paper.tv, paper.max_positives) == (4, 1, 0, None)
    assert paper.iou_ladder == (.8,) and paper.ceil_grid and paper.predicted_area and paper.sparsity == .007
    assert BBAMExplainer('paper', tv=.5).settings.tv == .5
    built = TASK_UTILS.build(dict(type='wsss_mm.BBAMExplainer', sparsity=.01))
    assert built.settings.sparsity == .01 and built.scale == (1333, 800)


@pytest.mark.parametrize('options', [dict(preset='fast'), dict(heads='mask'), dict(lamda=.1)])
def test_wrong_settings_are_named(options):
    with pytest.raises(ConfigError, match=str(next(iter(options.values()))) if 'lamda' not in options else 'lamda'):
        BBAMExplainer(**options)


def test_paper_grid_and_stride(known):
    model, scenes = known
    maps = explainer(preset='paper', iterations=1, iou_ladder=(.0,)).explain(model, **scenes)[1]
    rows, columns = maps.grids[0].shape
    assert (rows - 1) * maps.strides[0] < 64 <= rows * maps.strides[0]
    assert (columns - 1) * maps.strides[0] < 96 <= columns * maps.strides[0]
    given = explainer(iterations=1).explain(model, **scenes)[1]
    assert given.strides[0] == pytest.approx(3 + 8 * (60 * 45 / 64 / 96) ** .5) and maps.strides[0] != given.strides[0]


def test_single_heads_keep_single_predictions(known):
    model, scenes = known
    box, cls = (explainer(heads=h, sparsity=0., tv=0., lr=.05).explain(model, **scenes)[1] for h in ('box', 'cls'))
    assert box.loss_box[0] < cls.loss_box[0] and not np.allclose(box.grids[0], cls.grids[0], atol=.01)


def one(model, scenes, box, label=0, **options):
    return explainer(**options).explain(model, scenes['images'][:1], [np.array([box], np.float32)],
                                        [np.array([label])], [np.array([5])], ['a'])[0]


def test_boxes_beyond_the_image_are_clipped_or_invalid(known):
    model, scenes = known
    label = scenes['labels'][1][0]
    beyond, inside = (one(model, scenes, box, label, iterations=3) for box in ([20, 15, 130, 90], [20, 15, 96, 64]))
    np.testing.assert_array_equal(beyond.grids[0], inside.grids[0])
    assert beyond.boxes[0].tolist() == [20, 15, 130, 90]
    for box in ([100, 10, 120, 30], [10, 10, 10.5, 40], [30, 30, 20, 20]):
        maps = one(model, scenes, box)
        assert maps.statuses == ['invalid'] and maps.ids.tolist() == [5] and not maps.grids[0].any()


def test_a_box_without_positives_keeps_its_place(known):
    model, scenes = known
    expected = explainer(iterations=5).explain(model, **scenes)
    scenes['labels'] = [np.array([(scenes['labels'][0][0] + 1) % 3, scenes['labels'][0][1]]), *scenes['labels'][1:]]
    found = explainer(iterations=5, iou_ladder=(.99,)).explain(model, **scenes)[0]
    assert found.statuses[0] == 'no_positive' and not found.grids[0].any() and found.grids[0].shape == \
        expected[0].grids[0].shape
    assert found.positives[0] == found.iterations[0] == found.iou_used[0] == 0
    lower = one(model, scenes, [20, 15, 80, 60], scenes['labels'][1][0], iou_ladder=(.999,), lower_ladder=True)
    assert lower.positives[0] > 0 and lower.iou_used[0] in np.float32([.7, .6, .5])


def test_tiny_boxes_and_coarse_grids(known):
    model, scenes = known
    label = scenes['labels'][1][0]
    tiny = one(model, scenes, [40, 30, 44, 33], label, stride=16, iou_ladder=(.0,), iterations=2)
    assert tiny.statuses == ['tiny'] and tiny.grids[0].shape == (4, 6) and tiny.grids[0].any()
    coarse = one(model, scenes, [20, 15, 80, 60], label, stride=200, iterations=2)
    assert coarse.grids[0].shape == (1, 1)


def test_a_mask_that_vanishes_is_told(known):
    model, scenes = known
    maps = one(model, scenes, [20, 15, 80, 60], scenes['labels'][1][0], sparsity=50., lr=.2)
    assert maps.statuses == ['all_zero'] and maps.iterations[0] == 30 and not maps.grids[0].any()


def test_an_object_that_diverges_leaves_the_others_alone(known, monkeypatch):
    model, scenes = known
    expected = explainer(iterations=5).explain(model, **scenes)
    measure = bbam_masks._Batch.loss
    tried = []

    def broken(self, masks):
        loss, *changes = measure(self, masks)
        bad = torch.tensor([float('nan') if job.record.ids[job.index] == 12 else 1. for job in self.jobs])
        tried.append(self.adapter.amp)
        return loss * bad, *changes
    monkeypatch.setattr(bbam_masks._Batch, 'loss', broken)
    found = explainer(iterations=5).explain(model, **scenes)
    assert found[0].statuses == ['ok', 'diverged'] and not found[0].grids[1].any()
    np.testing.assert_allclose(found[0].grids[0], expected[0].grids[0], atol=1e-5)
    assert explainer(iterations=5, amp=True).explain(model, **scenes)[0].statuses == ['ok', 'diverged']
    assert True in tried and tried[-1] is False     # once more in full precision


def test_labels_the_detector_does_not_know_are_named(known):
    model, scenes = known
    model.dataset_meta = dict(classes=('disc', 'ring', 'star'))
    with pytest.raises(ConfigError, match=r'(?s)\[7\].*0 … 2: disc, ring, star'):
        one(model, scenes, [20, 15, 80, 60], 7)


def test_no_boxes_no_maps(known):
    model, scenes = known
    maps = explainer().explain(model, scenes['images'][:1], [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int64)],
                               [np.zeros(0, np.int64)], ['a'])[0]
    assert len(maps) == 0 and len(maps.to_bytes()) > 0
    assert explainer().explain(model, [], [], [], [], []) == []


def test_masks_come_without_gradients_being_on(known):
    model, scenes = known
    with torch.no_grad():
        found = explainer(iterations=3).explain(model, **scenes)
    same(found, explainer(iterations=3).explain(model, **scenes), atol=0)


def test_the_model_is_left_as_it_is_even_after_an_error(known, monkeypatch):
    model, scenes = known
    model.float().train()
    modes = [m.training for m in model.modules()]
    monkeypatch.setattr(bbam, 'optimise_masks', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explainer().explain(model, **scenes)
    with pytest.raises(ZeroDivisionError):
        explainer().explain_detections(model, scenes['images'][:1], ['a'], score_thr=0.)
    assert [m.training for m in model.modules()] == modes and all(p.requires_grad for n, p in model.named_parameters()
                                                                   if 'backbone' not in n)


def test_in_float32_a_batch_is_the_same_up_to_rounding(known):
    model, scenes = known
    model.float()
    together, alone = (explainer(max_batch=n, iterations=15).explain(model, **scenes) for n in (8, 1))
    for a, b in zip(together, alone, strict=True):
        for x, y in zip(a.grids, b.grids, strict=True):
            assert np.abs(x - y).mean() < 1e-3


def test_a_detector_explains_what_it_finds(known):
    model, scenes = known
    model.float()
    (maps, scores), (few, _) = (explainer(iterations=3).explain_detections(model, scenes['images'][:1], ['a'], t)[0]
                                for t in (0., 1.1))
    assert len(maps) == len(scores) > 0 and (np.diff(scores) <= 0).all() and len(few) == 0
    assert maps.positives.tolist() == [1] * len(maps) and set(maps.statuses) <= {'ok', 'tiny', 'all_zero', 'invalid'}
    area = (maps.boxes[0, 2:] - maps.boxes[0, :2]).prod() / (64 * 96)
    assert maps.strides[0] == pytest.approx(3 + 8 * area ** .5, rel=1e-4)


@pytest.mark.parametrize(('option', 'iterations'), [(dict(crop=8), 20), (dict(early_stop=True), 110),
                                                    (dict(amp=True), 20)])
def test_approximations_stay_near(known, option, iterations):
    model, scenes = known
    model.float()
    scenes = {k: v[1:2] for k, v in scenes.items()}
    expected, found = (explainer(iterations=iterations, **o).explain(model, **scenes)[0] for o in ({}, option))
    assert found.statuses == expected.statuses and found.grids[0].shape == expected.grids[0].shape
    assert np.abs(found.grids[0] - expected.grids[0]).mean() < .1


def test_the_frozen_copy_is_kept_until_the_weights_change(known):
    model, scenes = known
    own = explainer(iterations=3)
    before = own.explain(model, **scenes)
    kept = own._kept[2]
    same(own.explain(model, **scenes), before)
    assert own._kept[2] is kept
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.weight.mul_(.5)
    same(own.explain(model, **scenes), explainer(iterations=3).explain(model, **scenes))
    with torch.no_grad():
        model.roi_head.bbox_head.fc_cls.weight.mul_(2)
    same(own.explain(model, **scenes), before)
    assert pickle.loads(pickle.dumps(own))._kept is None
