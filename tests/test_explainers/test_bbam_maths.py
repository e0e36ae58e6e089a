"""Grid, proposals, loss and optimiser of BBAM on cases worked out by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_mm.explainers.bbam_loss import adam_step, prediction_change, total_variation, upsampling_matrix
from wsss_mm.explainers.bbam_proposals import (
    box_iou,
    choose_positives,
    crop_window,
    grid_shape,
    initial_mask,
    jittered_boxes,
    object_seed,
    object_stride,
)


@pytest.mark.parametrize(('grid', 'size'), [((5, 7), (64, 96)), ((1, 3), (17, 31)), ((4, 1), (9, 5)), ((1, 1), (8, 8)),
                                            ((6, 6), (6, 6)), ((2, 2), (1, 9))])
def test_two_products_enlarge_as_interpolate_does(grid, size):
    mask = torch.rand(grid, generator=torch.Generator().manual_seed(0))
    rows, columns = (upsampling_matrix(c, s, c + 2) for c, s in zip(grid, size, strict=True))
    found = rows @ F.pad(mask, (0, 2, 0, 2), value=9.) @ columns.T
    expected = F.interpolate(mask[None, None], size, mode='bilinear', align_corners=True)[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_total_variation_by_hand():
    masks = torch.zeros(3, 3, 4)
    masks[0, 0, 0] = 1                        # a corner: right, below, diagonal twice
    masks[1, 1, 1] = .5                       # within: four straight, four diagonals twice
    masks[2, 1, 1] = .5                       # the corner of a grid of 2 x 2, padded
    found = total_variation(masks, torch.tensor([3, 3, 2]), torch.tensor([4, 4, 2]))
    torch.testing.assert_close(found, torch.tensor([4., 12 * .125, 4 * .125]))
    assert total_variation(masks[:1], torch.tensor([3]), torch.tensor([4]), beta=1.).item() == 4
    assert total_variation(torch.rand(1, 1, 1), torch.tensor([1]), torch.tensor([1])).item() == 0


def test_change_of_predictions_by_hand():
    owner, weight = torch.tensor([0, 1, 1]), torch.tensor([1., .5, .5])
    deltas = torch.tensor([[1., 0, 0, -1], [0, 0, 0, 2], [0, 0, 0, 0]])
    box, cls = prediction_change(torch.tensor([.5, .9, .2]), deltas, torch.tensor([.6, .8, .4]), torch.zeros(3, 4),
                                 owner, weight, 3)
    torch.testing.assert_close(box, torch.tensor([.5, .25, 0]))
    torch.testing.assert_close(cls, torch.tensor([.1, .15, 0]))
    box, _ = prediction_change(torch.tensor([.5, .9, .2]), None, torch.zeros(3), None, owner, weight, 3)
    assert not box.any()


def test_gradients_are_right():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: total_variation(m, torch.tensor([3, 2]), torch.tensor([4, 3])), masks)
    owner, weight = torch.tensor([0, 0, 1]), torch.tensor([.5, .5, 1.], dtype=torch.float64)
    p, q = (torch.rand(3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    t, u = (torch.rand(3, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda p, t: prediction_change(p, t, q.detach(), u.detach(), owner, weight, 2), (p, t))


def test_adam_is_that_of_torch_for_each_object_alone():
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(3, 4, 5, generator=generator)
    gradients = torch.randn(12, 3, 4, 5, generator=generator) * torch.tensor([1e-9, 1., 1e3])[:, None, None]
    entered = [0, 5, 8]                       # step at which each begins
    masks, first, second = start.clone(), torch.zeros(3, 4, 5), torch.zeros(3, 4, 5)
    for step in range(12):
        now = torch.tensor([i for i in range(3) if step >= entered[i]])
        rows = [x[now] for x in (masks, first, second)]
        count = torch.tensor([step - entered[i] + 1. for i in now])
        adam_step(rows[0], gradients[step, now], rows[1], rows[2], count, .02)
        for whole, part in zip((masks, first, second), rows, strict=True):
            whole[now] = part
    for i in range(3):
        alone = start[i].clone().requires_grad_()
        optimiser = torch.optim.Adam([alone], lr=.02)
        for step in range(entered[i], 12):
            alone.grad = gradients[step, i]
            optimiser.step()
            alone.data.clamp_(0, 1)
        torch.testing.assert_close(masks[i], alone.detach(), atol=1e-6, rtol=1e-6)


def test_stride_and_grid():
    assert object_stride(.25, (16, 48)) == 40 and object_stride(.25, 24) == 24
    assert grid_shape((100, 39), 40) == (2, 1) and grid_shape((100, 39), 40, ceil=True) == (3, 1)


def test_initial_mask_is_the_union_of_the_boxes():
    boxes = torch.tensor([[10., 0, 35, 25], [30, 30, 200, 45]])
    expected = torch.zeros(5, 6)
    expected[0:2, 1:3] = 1
    expected[3:4, 3:6] = 1
    assert torch.equal(initial_mask(boxes, 10., (5, 6)), expected)


def test_a_box_smaller_than_a_cell_has_the_cells_it_touches():
    expected = torch.zeros(4, 4)
    expected[1, 2] = 1
    assert torch.equal(initial_mask(torch.tensor([[22., 13, 25, 17]]), 10., (4, 4)), expected)
    # beyond the last cell, and outside the image
    assert initial_mask(torch.tensor([[41., 41, 44, 44]]), 10., (4, 4)).sum() == 1
    assert initial_mask(torch.tensor([[-9., -9, -5, -2]]), 10., (4, 4)).sum() == 1


def test_proposals_move_each_side_by_a_part_and_stay_inside():
    box = np.array([10., 20, 30, 60], np.float32)
    found = jittered_boxes(box, (64, 32), 2000, .3, 1)
    moves = (found - box) / [20, 40, 20, 40]
    assert np.abs(moves).max() <= .3 and np.abs(moves[:, :2]).max(0).min() > .29
    assert found[:, 2].max() == 32 and (found[:, 2] == 32).mean() > .2      # clipped
    assert (found[:, 2:] > found[:, :2]).all()
    assert np.array_equal(found, jittered_boxes(box, (64, 32), 2000, .3, 1))


def test_seed_of_an_object_tells_all_three_apart():
    seeds = {object_seed(s, name, number) for s in (0, 1) for name in ('a', 'b') for number in (1, 2)}
    assert len(seeds) == 8 and object_seed(0, 'a', 1) == object_seed(0, 'a', 1)


def test_ladder_of_thresholds():
    ious = torch.tensor([.95, .92, .86, .87, .81, .99, .7])
    correct = torch.tensor([True] * 5 + [False] + [True])
    numbers, used = choose_positives(correct, ious, (.9, .85, .8), 3)
    assert numbers.tolist() == [0, 1, 2] and used == .85      # two above .9, four above .85: the first three
    numbers, used = choose_positives(correct, ious, (.9, .85, .8), 5)
    assert numbers.tolist() == [0, 1, 2, 3, 4] and used == .8  # never more than five: all above .8
    numbers, used = choose_positives(correct, ious, (.8,), None)
    assert numbers.tolist() == [0, 1, 2, 3, 4] and used == .8
    weak = correct & (ious < .75)
    assert choose_positives(weak, ious, (.9, .8), 3)[1] == 0 and not len(choose_positives(weak, ious, (.9, .8), 3)[0])
    numbers, used = choose_positives(weak, ious, (.9, .8), 3, lower=True)
    assert numbers.tolist() == [6] and used == .6


def test_iou_by_hand():
    boxes = torch.tensor([[0., 0, 10, 10], [5, 5, 15, 15], [20, 20, 30, 30], [3, 3, 1, 1]])
    torch.testing.assert_close(box_iou(boxes, torch.tensor([0., 0, 10, 10])), torch.tensor([1, 25 / 175, 0, 0]))


def test_window_holds_the_boxes_and_is_aligned():
    boxes = torch.tensor([[100., 90, 180, 150], [120, 80, 190, 140]])
    top, left, height, width = crop_window(boxes, boxes[0], 10, (300, 400))
    assert (top, left) == (32, 64) and top + height >= 150 + 20 and left + width >= 190 + 20
    assert height % 64 == 0 and width % 64 == 0
    assert crop_window(boxes, boxes[0], 1000, (300, 400)) == (0, 0, 320, 448)
