"""The maths of AEFT's triplet: parity with the published step and the paper's equations, by hand, and gradients."""

import pytest
import torch
import torch.nn.functional as F

from wsss_mm.errors import ConfigError
from wsss_mm.models.objectives.triplet import (
    attract_loss,
    distances,
    embed,
    erasing_mask,
    low_confidence,
    min_max_norm,
    repel_loss,
    sample_negatives,
    scale_by_peak,
)

DISJOINT = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_masks_embeddings_and_losses_are_the_published_ones(parity):
    f = parity('aeft/aeft_step_stage2')
    tags = f['label']
    torch.testing.assert_close(erasing_mask(f['cam'], tags, (40, 40)), f['mask_pos'])
    foreground = erasing_mask(f['cam'], tags, (40, 40), t_high=2)
    torch.testing.assert_close(foreground, f['cam_fg_from_highres'])
    torch.testing.assert_close(min_max_norm(F.relu(f['cam'])) * tags[:, :, None, None], f['cam_n'])
    low = low_confidence(f['cam'], tags)
    assert (low == f['mask_anchor_bg'].bool()).all()
    torch.testing.assert_close(scale_by_peak(f['gpp']), f['feat_norm'])

    anchor, positive = embed(F.relu(f['gpp']), tags=tags), embed(F.relu(f['gpp_masked']), tags=tags)
    torch.testing.assert_close(anchor, f['anchor'])
    torch.testing.assert_close(positive, f['positive'])
    unsure, whole = embed(f['feat_norm'], low, tags), embed(f['feat_norm'], tags=tags)
    torch.testing.assert_close(unsure, f['e_AL_all'])
    torch.testing.assert_close(whole, f['e_N_all_before_pairing'])

    negative = whole[f['n_idx']]
    torch.testing.assert_close(distances(unsure, negative, 'l2'), f['distance_negative_pos'])
    loss, hard = repel_loss(unsure, negative, torch.ones(10, dtype=torch.bool))
    assert hard.nonzero()[:, 0].tolist() == f['hard_triplets_pos'].tolist()
    torch.testing.assert_close(unsure[hard], f['e_AL_hard'])
    torch.testing.assert_close(negative[hard], f['e_N_hard'])
    torch.testing.assert_close(.15 * loss, torch.tensor(f['loss_repulse_weighted'].item()))
    torch.testing.assert_close(.2 * attract_loss(anchor, positive), torch.tensor(f['loss_attract_weighted'].item()))


def test_the_papers_equations(parity):
    """Eq. (8)-(10) literally, of the class maps and pooled maps of the other fixture."""
    f, p = parity('aeft/aeft_step_stage2'), parity('aeft/paper_equations')
    pooled, erased, index = f['gpp'].double(), f['gpp_masked'].double(), p['n_idx']
    low = low_confidence(f['cam'], f['label'])
    for unit, name in ((False, 'raw'), (True, 'l2')):
        e_a, e_p, e_al = embed(pooled, unit=unit), embed(erased, unit=unit), embed(pooled, low, unit=unit)
        if not unit:
            for mine, key in ((e_a, 'e_A'), (e_p, 'e_P'), (e_al, 'e_AL'), (e_a[index], 'e_N')):
                torch.testing.assert_close(mine, p[key])
        for distance, key in (('l2', 'sum'), ('mse', 'mse')):
            repelled, _ = repel_loss(e_al, e_a[index], torch.ones(10, dtype=torch.bool), distance=distance,
                                     hard_only=False)
            assert attract_loss(e_a, e_p, distance).item() == pytest.approx(p[f'attract_{key}_{name}'].item())
            assert repelled.item() == pytest.approx(p[f'repel_{key}_{name}'].item())


def test_negatives_share_no_class_and_every_such_image_is_drawn(parity):
    f = parity('aeft/neg_sampling')
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(8, 8)
    for _ in range(1500):
        index, valid = sample_negatives(f['labels'], generator)
        assert valid.all()
        counts[torch.arange(8), index] += 1
    allowed = f['allowed'] if f['allowed'].dtype == torch.bool else f['allowed'].bool()
    assert ((counts > 0) == allowed).all()
    share = counts / 1500 * allowed.sum(1, keepdim=True)
    assert (share[allowed] - 1).abs().max() < .25  # 4 standard deviations of the rarest


def test_images_without_a_negative_and_without_tags_take_no_part():
    tags = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
    for seed in range(20):
        index, valid = sample_negatives(tags, torch.Generator().manual_seed(seed))
        assert valid.tolist() == [False, True, True, False, False]
        assert index[1:3].tolist() == [2, 1]
    assert sample_negatives(torch.tensor([[1, 0]]))[1].tolist() == [False]
    first, again = (sample_negatives(torch.eye(9), torch.Generator().manual_seed(5))[0] for _ in range(2))
    assert (first == again).all()


def test_erasing_mask_by_hand():
    maps = torch.zeros(1, 3, 1, 5)
    maps[0, 0] = torch.tensor([-4., 0., 1., 2., 4.])
    maps[0, 1] = torch.tensor([9., 9., 9., 9., 0.])
    maps[0, 2] = torch.tensor([0., 0., 3., 0., 0.]) * 100  # its tag is not set
    mask = erasing_mask(maps, torch.tensor([[1, 0, 0]]), (1, 5))
    torch.testing.assert_close(mask[0, 0, 0], torch.tensor([0., 0., .25, .5, 0.]), rtol=0, atol=1e-5)
    mask = erasing_mask(maps, torch.tensor([[1, 1, 0]]), (1, 5), t_high=1.1)
    torch.testing.assert_close(mask[0, 0, 0], torch.tensor([1., 1., 1., 1., 1.]), rtol=0, atol=1e-5)


def test_erasing_mask_of_one_image_does_not_depend_on_the_batch_or_the_side():
    maps, tags = torch.randn(4, 3, 7, 9, generator=torch.Generator().manual_seed(0)), torch.tensor(DISJOINT)
    masks = erasing_mask(maps, tags, (28, 36))
    torch.testing.assert_close(erasing_mask(maps[3:], tags[3:], (28, 36)), masks[3:])
    torch.testing.assert_close(erasing_mask(maps.flip(3), tags, (28, 36)), masks.flip(3))
    mixed = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(erasing_mask(maps[mixed], tags[mixed], (28, 36)), masks[mixed])
    assert 0 < masks.max() < .6


@pytest.mark.parametrize('value', [0., 3., -3.])
def test_constant_maps_erase_everything_and_stay_finite(value):
    maps = torch.full((2, 3, 5, 5), value, requires_grad=True)
    tags = torch.tensor([[1, 0, 0], [0, 1, 1]])
    mask = erasing_mask(maps, tags, (10, 10))
    assert (mask == 0).all()
    assert low_confidence(maps, tags).all()
    peak = embed(scale_by_peak(maps), low_confidence(maps, tags), tags, unit=True)
    (mask.sum() + peak.sum()).backward()
    assert maps.grad.isfinite().all()


def test_no_pixels_of_a_region_give_zero():
    maps = torch.randn(1, 2, 3, 3)
    region = torch.stack([torch.zeros(3, 3), torch.eye(3)])[None].bool()
    assert embed(maps, region)[0].tolist() == pytest.approx([0., maps[0, 1].diagonal().mean().item()])


def test_repelling_by_hand():
    anchor, negative = torch.tensor([[.5, 0.], [.1, 0.], [.4, 0.], [.2, 0.]]), torch.tensor([[0., .6]] * 4)
    gap = .5 - (anchor[:, 0].square() + .36)  # -.11, .13, -.02, .10
    valid = torch.tensor([True, True, True, False])
    loss, hard = repel_loss(anchor, negative, valid, min_hard=0)
    assert hard.tolist() == [False, True, False, False]
    torch.testing.assert_close(loss, gap[1])
    torch.testing.assert_close(repel_loss(anchor, negative, valid, hard_only=False)[0], gap[1] / 3)
    valid = torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(repel_loss(anchor, negative, valid, min_hard=1)[0], (gap[1] + gap[3]) / 2)
    torch.testing.assert_close(repel_loss(anchor, negative, valid, margin=1., min_hard=.9)[0], gap.mean() + .5)


@pytest.mark.parametrize('min_hard, counted', [(4, False), (3, True), (.5, False), (.49, True), (0, True)])
def test_repelling_needs_more_hard_pairs_than_min_hard(min_hard, counted):
    anchor = torch.zeros(8, 2, requires_grad=True)
    negative = torch.tensor([[.1, 0.]] * 4 + [[2., 0.]] * 4)
    loss, hard = repel_loss(anchor, negative, torch.ones(8, dtype=torch.bool), min_hard=min_hard)
    assert hard.sum() == 4 and (loss > 0) == counted
    loss.backward()
    assert (anchor.grad.abs().sum() > 0) == counted


def test_gradients_in_float64():
    g = torch.Generator().manual_seed(3)
    maps, pooled, erased = (torch.randn(3, 4, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
                            for _ in range(3))
    tags = torch.tensor([[1., 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    index, valid, low = torch.tensor([1, 2, 0]), torch.tensor([True, True, False]), low_confidence(maps, tags)

    def total(maps, pooled, erased, unit, hard_only):
        peak = scale_by_peak(pooled)
        repelled, _ = repel_loss(embed(peak, low, tags, unit), embed(peak, tags=tags, unit=unit)[index], valid, 3.,
                                 hard_only=hard_only, min_hard=0)
        first, second = (embed(F.relu(x), tags=tags, unit=unit) for x in (pooled, erased))
        attracted = attract_loss(first, second)
        return repelled + attracted + (erasing_mask(maps, tags, (6, 8)) ** 2).sum()

    for unit, hard_only in ((False, True), (True, False)):
        assert torch.autograd.gradcheck(lambda *x, u=unit, h=hard_only: total(*x, u, h), (maps, pooled, erased))


def test_another_distance_is_named():
    with pytest.raises(ConfigError, match="distance='cosine'.*\n.*'l1' or 'l2' or 'mse'"):
        distances(torch.zeros(1, 1), torch.zeros(1, 1), 'cosine')
