"""The frozen copy of a detector predicts what the detector itself does, and refuses what it cannot explain."""

import copy

import pytest
import torch
from torch import nn

from wsss_mm.errors import ConfigError
from wsss_mm.explainers.adapter import DetectorAdapter, check_detector
from wsss_mm.explainers.explainer import explained_input

KINDS = ['fpn', 'agnostic', 'mask', 'cascade', 'c4']


@pytest.fixture
def inputs(detector, scenes):
    model = detector('fpn')
    return torch.cat([explained_input(model, image, None)[0] for image in scenes['images'][:2]])


@pytest.fixture
def boxes():
    boxes = torch.tensor([[25., 20, 60, 50], [2, 3, 20, 30], [0, 0, 96, 64], [40, 40, 52, 50]])
    return boxes, torch.tensor([0, 1, 0, 1])


def usual(model, inputs, boxes, numbers):
    """mmdet's own way: probabilities, offsets and the RoIs of the last stage."""
    features = model.extract_feat(inputs)
    rois = torch.cat([numbers[:, None].float(), boxes], 1)
    head = model.roi_head
    if not isinstance(head.bbox_head, nn.ModuleList):
        found = head._bbox_forward(features, rois)
        return found['cls_score'].softmax(1), found['bbox_pred'], boxes
    order = numbers.argsort(stable=True)
    counts = numbers.bincount().tolist()
    refined, scores, deltas = head._refine_roi(features, rois[order], [dict(img_shape=tuple(inputs.shape[2:]))] * 2,
                                               counts)
    back = order.argsort()
    return torch.cat(scores).softmax(1)[back], torch.cat(deltas)[back], torch.cat(refined)[back, 1:]


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_same_predictions_as_the_detector(kind, detector, inputs, boxes):
    model = detector(kind)
    adapter = DetectorAdapter(model, inputs[:1])
    assert adapter.static and adapter.lazy == (kind != 'c4')
    stages = [adapter.stage_boxes(adapter.features(inputs[i:i + 1]), boxes[0], tuple(inputs.shape[2:])) for i in (0, 1)]
    rois = [torch.where(boxes[1][:, None] == 0, a, b) for a, b in zip(*stages, strict=True)]
    plan = adapter.plan(rois, boxes[1])
    features = adapter.features(inputs, plan.levels)
    probability, deltas = adapter.predict(features, plan)
    expected = usual(model, inputs, *boxes)
    torch.testing.assert_close(probability, expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(deltas.flatten(1), expected[1], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(rois[-1], expected[2], atol=1e-3, rtol=1e-5)


@torch.no_grad()
def test_only_levels_in_use_are_computed(detector, inputs, boxes):
    adapter = DetectorAdapter(detector('fpn'), inputs[:1])
    plan = adapter.plan([boxes[0][1:2]], boxes[1][1:2])
    features = adapter.features(inputs, plan.levels)
    assert plan.levels == (0,) and [x is None for x in features] == [False, True, True, True]
    whole = detector('fpn').extract_feat(inputs)[0]
    torch.testing.assert_close(features[0], whole, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_another_neck_and_extractor_go_their_own_way(detector, inputs, boxes):
    from mmdet.models import FPN, SingleRoIExtractor

    class Doubled(FPN):
        def forward(self, inputs):
            return tuple(2 * x for x in super().forward(inputs))

    class Shifted(SingleRoIExtractor):
        def forward(self, feats, rois, roi_scale_factor=None):
            return super().forward(feats, rois, roi_scale_factor) + 1
    for part, kind in ((lambda m: m.neck, Doubled), (lambda m: m.roi_head.bbox_roi_extractor, Shifted)):
        model = copy.deepcopy(detector('fpn'))
        part(model).__class__ = kind
        adapter = DetectorAdapter(model, inputs[:1])
        assert not adapter.lazy
        plan = adapter.plan([boxes[0]], boxes[1])
        probability, _ = adapter.predict(adapter.features(inputs, plan.levels), plan)
        torch.testing.assert_close(probability, usual(model, inputs, *boxes)[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_way_that_differs_is_left(detector, inputs, boxes, monkeypatch):
    monkeypatch.setattr(DetectorAdapter, '_lazy_features', lambda self, inputs, levels: [
        x + 1 for x in self.model.extract_feat(inputs)])
    adapter = DetectorAdapter(detector('fpn'), inputs[:1])
    assert adapter.static and not adapter.lazy
    plan = adapter.plan([boxes[0]], boxes[1])
    probability, _ = adapter.predict(adapter.features(inputs, plan.levels), plan)
    torch.testing.assert_close(probability, usual(detector('fpn'), inputs, *boxes)[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_batch_norms_are_folded_only_where_nothing_changes(detector, inputs):
    assert isinstance(DetectorAdapter(detector('fpn'), inputs).model.backbone.bn1, nn.Identity)
    model = copy.deepcopy(detector('fpn'))
    # this convolution is not followed by the batch norm behind it in the list of parts
    model.backbone.conv1.register_forward_hook(lambda module, arguments, output: output.relu())
    adapter = DetectorAdapter(model, inputs)
    assert isinstance(adapter.model.backbone.bn1, nn.BatchNorm2d)
    for found, expected in zip(adapter.features(inputs), model.extract_feat(inputs), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_offsets_are_in_the_published_units(detector, inputs):
    torch.testing.assert_close(DetectorAdapter(detector('fpn'), inputs).delta_scale, torch.ones(4))
    torch.testing.assert_close(DetectorAdapter(detector('cascade'), inputs).delta_scale, torch.full((4,), .5))


@torch.no_grad()
def test_own_activation_of_the_scores(detector, inputs, boxes):
    from mmdet.models import SeesawLoss
    model = copy.deepcopy(detector('fpn'))
    head = model.roi_head.bbox_head
    head.loss_cls, head.fc_cls = SeesawLoss(num_classes=3), nn.Linear(32, 5)
    adapter = DetectorAdapter(model, inputs)
    plan = adapter.plan([boxes[0]], boxes[1])
    rois = torch.cat([boxes[1][:, None].float(), boxes[0]], 1)
    expected = head.loss_cls.get_activation(model.roi_head._bbox_forward(model.extract_feat(inputs), rois)['cls_score'])
    torch.testing.assert_close(adapter.predict(adapter.features(inputs), plan)[0], expected, atol=1e-5, rtol=1e-4)


def test_without_a_head_for_boxes_there_is_a_warning(detector, inputs):
    check_detector(detector('no_boxes'))
    with pytest.warns(UserWarning, match='box term'):
        assert not DetectorAdapter(detector('no_boxes'), inputs).with_boxes


@pytest.mark.parametrize('kind', ['sabl', 'sparse', 'retina', 'module'])
def test_others_are_refused_with_what_works(kind, detector):
    model = copy.deepcopy(detector('sabl' if kind == 'sabl' else 'cascade'))
    if kind == 'sparse':
        from mmdet.models import SparseRoIHead
        model.roi_head.__class__ = SparseRoIHead
    elif kind == 'retina':
        from mmdet.models import RetinaNet
        model.__class__ = RetinaNet
    elif kind == 'module':
        model = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match='(?s)cannot be explained.*Faster R-CNN.*Cascade'):
        check_detector(model)


def test_the_detector_is_left_as_it_is(detector, inputs):
    model = copy.deepcopy(detector('fpn')).train()
    model.neck.requires_grad_(False)
    before = [(n, p.requires_grad, p.clone()) for n, p in model.named_parameters()]
    modes = [m.training for m in model.modules()]
    adapter = DetectorAdapter(model, inputs)
    assert not any(p.requires_grad for p in adapter.model.parameters()) and not adapter.model.training
    assert [m.training for m in model.modules()] == modes
    for (name, needed, values), (now, parameter) in zip(before, model.named_parameters(), strict=True):
        assert name == now and parameter.requires_grad == needed and torch.equal(values, parameter)
