"""Grad-CAM and SimpleGrad of a detector's proposals."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError
from wsss_mm.explainers import RoIGradCAM, RoISimpleGrad
from wsss_mm.explainers.adapter import DetectorAdapter
from wsss_mm.explainers.bbam_loss import upsampling_matrix
from wsss_mm.explainers.roi_gradients import (
    feature_gradients,
    image_gradients,
    normalise_in_box,
    place_matrix,
    pool_matrix,
)

EXPLAINERS = [RoIGradCAM, RoISimpleGrad]
# positives are found whatever the random weights say
EASY = dict(scale=None, stride=4., iou_ladder=(.05,), n_jitter=200, max_positives=20)


class LinearDetector:
    """One level of stride 2; class scores and offsets are linear in the mean of the features in a box."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.mix = torch.randn(4, 3, generator=generator)
        self.classes = torch.randn(3, 4, generator=generator)
        self.offsets = torch.randn(3, 4, 4, generator=generator)
        self.heads, self.delta_scale = [None], torch.tensor([1., 1., 2., 2.])
        self.extractors = [SimpleNamespace(featmap_strides=[2])]

    def features(self, inputs):
        return (torch.einsum('dc,nchw->ndhw', self.mix, torch.nn.functional.avg_pool2d(inputs, 2)), )

    def plan(self, boxes, numbers):
        return torch.cat([numbers[:, None].to(boxes[0]), boxes[0]], 1)

    def scores(self, features, plan):
        rows = []
        for number, x1, y1, x2, y2 in plan.long().tolist():
            rows.append(features[0][number, :, y1 // 2:y2 // 2, x1 // 2:x2 // 2].mean((1, 2)))
        found = torch.stack(rows)
        return found @ self.classes.t(), torch.einsum('ckd,nd->nck', self.offsets, found)

    def class_deltas(self, deltas, labels):
        return deltas[torch.arange(len(deltas)), labels]


def job(box, label, shape=(8, 12), grid=(4, 6)):
    return SimpleNamespace(
        rois=[torch.tensor(box, dtype=torch.float32)], label=label, image=torch.zeros(3, *shape),
        mask=torch.zeros(grid), rows=upsampling_matrix(grid[0], shape[0]), columns=upsampling_matrix(grid[1], shape[1]),
        record=SimpleNamespace(image_id='a'))


JOBS = [job([[2, 2, 6, 6], [4, 2, 8, 6]], 1), job([[0, 0, 12, 8]], 2)]


def test_grad_cam_of_a_linear_detector():
    model, inputs = LinearDetector(), torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    (gradient, ) = feature_gradients(model, model.features(inputs), JOBS, 'cls')
    # the sum over positions is the score's weight, whatever the boxes
    torch.testing.assert_close(gradient.sum((2, 3)), model.classes[[1, 2]])
    expected = torch.zeros(4, 6)           # two boxes of 2 x 2 cells, a quarter each, half of the mean
    expected[1:3, 1:3] += 1 / 8
    expected[1:3, 2:4] += 1 / 8
    torch.testing.assert_close(gradient[0], model.classes[1][:, None, None] * expected)
    maps = torch.einsum('kd,dhw->khw', model.classes[[1, 2]], model.features(inputs)[0][0])
    for found, own, one in zip(RoIGradCAM()._grids(model, inputs, JOBS), maps, JOBS, strict=True):
        rows = pool_matrix(one.rows) @ place_matrix(4, 8, 2)
        columns = pool_matrix(one.columns) @ place_matrix(6, 12, 2)
        torch.testing.assert_close(found, (rows @ own @ columns.t()).relu())


@pytest.mark.parametrize('heads', ['cls', 'box', 'both'])
def test_simple_grad_of_a_linear_detector(heads):
    model, inputs = LinearDetector(), torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    found = image_gradients(model, inputs, JOBS, heads)
    for one, gradient in zip(JOBS, found, strict=True):
        weight = torch.zeros(4)
        if heads != 'box':
            weight += model.classes[one.label]
        if heads != 'cls':
            weight += (model.offsets[one.label] * model.delta_scale[:, None]).sum(0)
        inside = torch.zeros(8, 12)
        for x1, y1, x2, y2 in one.rois[0].long().tolist():
            inside[y1:y2, x1:x2] += 1 / ((x2 - x1) * (y2 - y1)) / len(one.rois[0])
        torch.testing.assert_close(gradient, (weight @ model.mix)[:, None, None] * inside)
    # the gradient of a linear detector does not see noise
    plain, smooth = (RoISimpleGrad(samples=n)._grids(model, inputs, JOBS) for n in (1, 3))
    for a, b, gradient, one in zip(plain, smooth, found, JOBS, strict=True):
        torch.testing.assert_close(a, b / 3)
        if heads == 'both':
            pooled = pool_matrix(one.rows) @ gradient.abs().amax(0) @ pool_matrix(one.columns).t()
            torch.testing.assert_close(a, pooled)


def test_matrices():
    # cells of 2 pixels have their middles at 1, 3, 5
    assert place_matrix(3, 6, 2).tolist() == [
        [1, 0, 0], [.75, .25, 0], [.25, .75, 0], [0, .75, .25], [0, .25, .75], [0, 0, 1]]
    # three cells over five pixels are at 0, 2, 4
    assert torch.allclose(pool_matrix(upsampling_matrix(3, 5)), torch.tensor(
        [[2, 1, 0, 0, 0], [0, 1, 2, 1, 0], [0, 0, 0, 1, 2]]) / torch.tensor([[3.], [4.], [3.]]))
    for cells, pixels in ((1, 7), (5, 33), (6, 12)):
        pool = pool_matrix(upsampling_matrix(cells, pixels))
        torch.testing.assert_close(pool.sum(1), torch.ones(cells))
        torch.testing.assert_close(pool, pool.flip(0, 1), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(place_matrix(cells, pixels, pixels / cells).sum(1), torch.ones(pixels))
    line = torch.linspace(0, 1, 9)   # a straight line stays one between the outer cells
    cells = pool_matrix(upsampling_matrix(5, 9)) @ line
    torch.testing.assert_close(cells[1:-1], torch.tensor([.25, .5, .75]))


def test_normalised_by_the_highest_value_in_the_box():
    rows, columns = upsampling_matrix(3, 5), upsampling_matrix(3, 5)
    grid = torch.tensor([[8., 0, 0], [0, 2, 0], [0, 0, 1]])
    found = normalise_in_box(grid, rows, columns, torch.tensor([1.5, 2., 5., 5.]))   # pixels 1 to 4 and 2 to 4
    assert found.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, .5]]
    assert not normalise_in_box(torch.zeros(3, 3), rows, columns, torch.tensor([0., 0, 5, 5])).any()


def test_gradients_are_those_of_each_object_alone(detector, scenes):
    model = detector('fpn')
    inputs = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    adapter = DetectorAdapter(model, inputs, plain=True)
    boxes = [torch.tensor([[20., 15, 60, 50], [5, 5, 30, 20]]), torch.tensor([[2., 2, 90, 60]])]
    jobs = [SimpleNamespace(rois=[x], label=i, image=inputs[0]) for i, x in enumerate(boxes)]
    found = image_gradients(adapter, inputs, jobs, 'both')
    for i, rois in enumerate(boxes):
        image = inputs.clone().requires_grad_()
        rois = torch.cat([torch.zeros(len(rois), 1), rois], 1)
        out = model.roi_head._bbox_forward(model.extract_feat(image), rois)
        score = out['cls_score'][:, i] + out['bbox_pred'].unflatten(1, (3, 4))[:, i].sum(1)
        expected, = torch.autograd.grad(score.mean(), image)
        torch.testing.assert_close(found[i], expected[0], rtol=1e-4, atol=1e-6 + 1e-4 * float(expected.abs().max()))
        assert expected.abs().max() > 0


@pytest.fixture
def sure(detector):
    """A tiny detector that sees the class 1 in every box."""

    def build(kind):
        model = copy.deepcopy(detector(kind))
        head = model.roi_head.bbox_head
        for one in head if isinstance(head, torch.nn.ModuleList) else [head]:
            one.fc_cls.bias.data[1] += 50
            one.fc_cls.weight.data[1].abs_()
        return model
    return build


@pytest.fixture
def ones(scenes):
    """The scenes with boxes of the class 1."""
    return {**scenes, 'labels': [np.ones_like(x) for x in scenes['labels']]}


@pytest.mark.parametrize('make', EXPLAINERS)
@pytest.mark.parametrize('kind', ['fpn', 'agnostic', 'no_boxes', 'mask', 'cascade', 'c4'])
@pytest.mark.filterwarnings('ignore:the detector has no head for boxes')
def test_detectors(make, kind, sure, ones):
    model, explainer = sure(kind), make(**EASY)
    with torch.no_grad():                    # as the labelling run calls it
        found = explainer.explain(model, **ones)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    for maps, boxes, labels in zip(found, ones['boxes'], ones['labels'], strict=True):
        assert (maps.labels == labels + 1).all() and (maps.boxes == boxes).all() and not maps.iterations.any()
        for i, status in enumerate(maps.statuses):
            if status == 'all_zero':         # Grad-CAM, where all is against the class
                assert make is RoIGradCAM and not maps.grids[i].any()
                continue
            assert status == 'ok'
            x1, y1, x2, y2 = boxes[i].astype(int)
            full = maps.full_size(i)
            assert full.min() >= 0 and full[y1:y2, x1:x2].max() > .5 and full.max() <= 1 + 1e-6
            assert maps.positives[i] > 0 and maps.grids[i].shape == (maps.height // 4, maps.width // 4)
    assert 'ok' in sum((maps.statuses for maps in found), [])


@pytest.mark.parametrize('explainer', [
    RoIGradCAM(**EASY), RoISimpleGrad(**EASY), RoISimpleGrad(**EASY, samples=2),
    RoISimpleGrad(**EASY | dict(max_batch=1), samples=2)])
def test_objects_alone_are_as_together(explainer, sure, ones):
    model, scenes = sure('fpn'), ones
    together = explainer.explain(model, **scenes)
    assert any(g.any() for maps in together for g in maps.grids)
    for k in reversed(range(3)):
        for i in range(len(scenes['boxes'][k])):
            alone, = explainer.explain(model, [scenes['images'][k]], *(
                [scenes[name][k][i:i + 1]] for name in ('boxes', 'labels', 'ids')), [scenes['image_ids'][k]])
            assert alone.statuses[0] == together[k].statuses[i]
            np.testing.assert_allclose(alone.grids[0], together[k].grids[i], atol=1e-4)


def test_noise_is_drawn_again_alike(sure, ones):
    first, again, other = (RoISimpleGrad(**EASY, samples=3, seed=s).explain(sure('fpn'), **ones)[1] for s in (0, 0, 1))
    assert (first.grids[0] == again.grids[0]).all() and (first.grids[0] != other.grids[0]).any()


def test_boxes_that_cannot_be_explained(detector):
    image = np.full((64, 96, 3), 90, np.uint8)
    boxes = np.array([[100, 10, 120, 30], [10, 10, 40, 40]], np.float32)
    for make in EXPLAINERS:
        maps, = make(**EASY | dict(iou_ladder=(.999,))).explain(
            detector('fpn'), [image], [boxes], [np.array([0, 1])], [np.array([7, 3])], ['a'])
        assert maps.statuses == ['invalid', 'no_positive'] and not any(g.any() for g in maps.grids)
        with pytest.raises(ConfigError, match=r'\[3\]'):
            make(**EASY).explain(detector('fpn'), [image], [boxes], [np.array([0, 3])], [np.array([7, 3])], ['a'])
        with pytest.raises(ConfigError, match='cannot be explained'):
            make(**EASY).check(detector('sabl'))
        with pytest.raises(ConfigError, match='iterations'):
            make(iterations=5)


@pytest.mark.parametrize('settings', [dict(heads='mask'), dict(samples=0), dict(samples=2, noise=0)])
def test_settings_that_do_not_exist(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        RoISimpleGrad(**settings)
