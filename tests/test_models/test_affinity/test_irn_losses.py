"""IRN's losses on pairs."""

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError
from wsss_mm.models.affinity.irn_losses import irn_losses, nearest_labels, pair_groups, search_windows
from wsss_mm.models.affinity.paths import search_paths


def test_losses_and_gradients_are_the_published_ones(parity):
    recorded = parity('irn/labels_and_losses')
    logit, displacement = (recorded[name].requires_grad_() for name in ('edge_logit', 'disp'))
    parts = irn_losses(logit.sigmoid()[:, 0], displacement, recorded['seg'].long(), radius=5, num_classes=20)
    torch.testing.assert_close(torch.stack(list(parts.values())), recorded['loss_parts'])
    total = sum(parts.values()) / 2
    torch.testing.assert_close(total, torch.as_tensor(recorded['total']))
    total.backward()
    torch.testing.assert_close(logit.grad, recorded['grad_edge_logit'], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(displacement.grad, recorded['grad_disp'], rtol=1e-4, atol=1e-7)


def test_groups_are_the_published_ones(parity):
    recorded = parity('irn/labels_and_losses')
    labels = recorded['seg'].where(recorded['seg'] <= 20, torch.tensor(255, dtype=torch.uint8))
    for number, (offset, source, target) in enumerate(search_windows(20, 26, 5, 'inner')):
        assert offset == search_paths(5)[0][number]
        for name, group in zip(('bg_pos', 'fg_pos', 'neg'), pair_groups(labels, source, target), strict=True):
            assert group.flatten(1).equal(recorded[name][:, number].bool())


def indexed(boundary, displacement, labels, radius, num_classes, pairs):
    """The losses as they are written down: every pair with its cells by index, gradients by autograd."""
    count, height, width = boundary.shape
    terms = {name: [] for name in ('bg', 'fg', 'neg', 'disp_fg', 'disp_bg')}
    reach = radius - 1
    for (dy, dx), path in zip(*search_paths(radius), strict=True):
        for n in range(count):
            for y in range(height):
                for x in range(width):
                    inner = y <= height - radius and reach <= x <= width - radius
                    if (pairs == 'inner' and not inner) or not (y + dy < height and 0 <= x + dx < width):
                        continue
                    one, other = int(labels[n, y, x]), int(labels[n, y + dy, x + dx])
                    if max(one, other) > num_classes:
                        continue
                    cells = torch.stack([boundary[n, y + i, x + j] for i, j in path])
                    first = int(np.argmax(cells.detach().numpy()))
                    affinity = 1 - cells[first]
                    moved = displacement[n, :, y, x] - displacement[n, :, y + dy, x + dx]
                    if one != other:
                        terms['neg'].append(-(1 + 1e-5 - affinity).log())
                    elif one == 0:
                        terms['bg'].append(-(affinity + 1e-5).log())
                        terms['disp_bg'].append(moved.abs().mean())
                    else:
                        terms['fg'].append(-(affinity + 1e-5).log())
                        terms['disp_fg'].append((moved - moved.new_tensor([dy, dx])).abs().mean())
    mean = {k: torch.stack(v).sum() / (len(v) + 1e-5) if v else boundary.sum() * 0 for k, v in terms.items()}
    return dict(pos=(mean['bg'] + mean['fg']) / 2, neg=mean['neg'], disp_fg=mean['disp_fg'], disp_bg=mean['disp_bg'])


def example(seed=0, count=1, size=(7, 9), levels=None):
    rng = np.random.default_rng(seed)
    boundary = rng.random((count, *size)) if levels is None else rng.integers(1, levels, (count, *size)) / 8
    labels = rng.choice([0, 1, 2, 255], (count, *size))
    return (torch.from_numpy(boundary).requires_grad_(), torch.from_numpy(rng.normal(size=(count, 2, *size)))
            .requires_grad_(), torch.from_numpy(labels))


@pytest.mark.parametrize(('pairs', 'levels'), [('inner', None), ('all', None), ('all', 5)])
def test_equal_to_the_indexed_form_also_at_ties(pairs, levels):
    boundary, displacement, labels = example(count=2, levels=levels)
    options = dict(radius=3, num_classes=2, pairs=pairs)
    ours = irn_losses(boundary, displacement, labels, **options)
    theirs = indexed(boundary, displacement, labels, **options)
    weights = dict(pos=1., neg=.5, disp_fg=2., disp_bg=.25)   # an upstream gradient of its own for each part
    for name in weights:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-8)
    grads = [torch.autograd.grad(sum(weights[k] * v for k, v in parts.items()), (boundary, displacement))
             for parts in (ours, theirs)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_gradients_in_float64():
    boundary, displacement, labels = example(seed=1, size=(6, 7))
    assert torch.autograd.gradcheck(
        lambda b, d: tuple(irn_losses(b, d, labels, radius=3, num_classes=2, pairs='all').values()),
        (boundary, displacement))


@pytest.mark.parametrize('value', [255, 0, 1, 21])
def test_missing_groups_give_zero(value):
    boundary, displacement, labels = example()
    parts = irn_losses(boundary, displacement, labels.fill_(value), radius=3, num_classes=20, pairs='all')
    empty = dict(pos=value > 20, neg=True, disp_fg=value != 1, disp_bg=value != 0)
    assert {name: part.item() == 0 for name, part in parts.items()} == empty
    sum(parts.values()).backward()
    assert boundary.grad.isfinite().all() and displacement.grad.isfinite().all()
    assert (boundary.grad == 0).all() == (value > 20)


def test_sure_boundaries_stay_finite():
    _, displacement, labels = example()
    for value in (0., 1.):
        boundary = torch.full(labels.shape, value, requires_grad=True)
        parts = irn_losses(boundary, displacement, labels, radius=3, num_classes=2)
        sum(parts.values()).backward()
        assert all(part.isfinite() for part in parts.values()) and boundary.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    boundary, displacement, labels = (x.detach().float() if x.is_floating_point() else x for x in example())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        parts = irn_losses(boundary.bfloat16(), displacement.bfloat16(), labels, radius=3, num_classes=2)
    plain = irn_losses(boundary.bfloat16().float(), displacement.bfloat16().float(), labels, radius=3, num_classes=2)
    assert all(parts[k].dtype == torch.float32 and parts[k] == plain[k] for k in parts)


def test_labels_are_those_of_pillow():
    from PIL import Image
    labels = np.random.default_rng(0).integers(0, 255, (64, 96), dtype=np.uint8)
    small = np.array(Image.fromarray(labels).resize((24, 16), Image.Resampling.NEAREST))
    assert nearest_labels(torch.from_numpy(labels)[None].long(), (16, 24))[0].numpy().tolist() == small.tolist()


def test_maps_without_a_pair_are_refused():
    boundary, displacement, labels = example()
    with pytest.raises(ConfigError, match='no pixel with all neighbours'):
        irn_losses(boundary, displacement, labels, radius=10, num_classes=2)
