"""Seeded region growing: the published routine's results, a plain reference class by class, what must never happen."""

from itertools import product

import numpy as np
import pytest
import torch

from wsss_mm.errors import ConfigError
from wsss_mm.models.losses import grow_seeds

CASES = ['diag_is_8_connected', 'grows_through_foreign_seed_without_taking_it',
         'own_seed_overruled_by_other_class_does_not_grow', 'absent_class_ignored_even_if_confident', 'bg_needs_0.99',
         'bg_grows_above_0.99', 'threshold_is_strict', 'overlapping_cues', 'disconnected_confident_pixel_not_taken']


def plain_growing(cues, probabilities, tags, foreground, background, valid):
    """One image, class after class on cues that change meanwhile, components by flood fill."""
    classes, height, width = cues.shape
    cues = cues.copy()
    present = [c for c in range(classes) if tags[c]]
    proposal = np.full((height, width), -1)
    for y, x in product(range(height), range(width)):
        if not valid[y, x]:
            continue
        own = np.flatnonzero(cues[:, y, x])
        if len(own):
            proposal[y, x] = own[0]
        best = max(present, key=lambda c: probabilities[c, y, x], default=None)   # noqa: B023
        if best is not None and probabilities[best, y, x] > (foreground if best else background):
            proposal[y, x] = best
    for c in present:
        seen = np.zeros((height, width), bool)
        for start in product(range(height), range(width)):
            if seen[start] or proposal[start] != c:
                continue
            component, stack = [], [start]
            seen[start] = True
            while stack:
                y, x = stack.pop()
                component.append((y, x))
                for v, u in product((y - 1, y, y + 1), (x - 1, x, x + 1)):
                    if 0 <= v < height and 0 <= u < width and proposal[v, u] == c and not seen[v, u]:
                        seen[v, u] = True
                        stack.append((v, u))
            if any(cues[c, y, x] for y, x in component):
                for y, x in component:
                    if cues[c, y, x] or cues[:, y, x].sum() != 1:
                        cues[c, y, x] = True
    return cues


def random_case(rng, images=5, classes=4, height=7, width=9):
    """Blobs of confident pixels; cues that overlap, some of absent classes; two thresholds; some padding."""
    logits = rng.normal(0, 3, (images, classes, 4, 5))
    logits = torch.nn.functional.interpolate(torch.from_numpy(logits), (height, width), mode='bilinear').numpy()
    logits += rng.normal(0, .5, logits.shape)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    cues = rng.random(logits.shape) < rng.choice([.02, .1, .3])
    tags = rng.random((images, classes)) < .6
    tags[:, 0] |= rng.random(images) < .9
    valid = np.ones((images, height, width), bool)
    if rng.random() < .5:
        valid[:, :, -rng.integers(1, 4):] = False
    return cues, probabilities, tags, *rng.choice([.3, .5, .85], 2), valid


def as_tensors(cues, probabilities, tags, foreground, background, valid):
    return *map(torch.from_numpy, (cues, probabilities, tags)), foreground, background, torch.from_numpy(valid)


@pytest.mark.parametrize('name', CASES)
def test_hand_cases(parity, name):
    data = parity('dsrg/dsrg')
    cues, probabilities, tags, grown = (data[f'case_{name}_{k}'][None] for k in ('cues', 'probs', 'labels', 'grown'))
    assert torch.equal(grow_seeds(cues, probabilities, tags), grown.bool())


@pytest.mark.parametrize('background, foreground', [(.99, .85), (.7, .5)])
@pytest.mark.parametrize('size', ['voc41', 'small'])
def test_published_routine(parity, size, background, foreground):
    data = parity('dsrg/dsrg')
    cues, probabilities, tags = (data[f'{size}_{k}'] for k in ('cues', 'probs', 'labels'))
    expected = data[f'{size}_bg{background}_fg{foreground}_grown'].bool()
    assert expected.sum() > cues.sum()
    assert torch.equal(grow_seeds(cues, probabilities, tags, foreground, background), expected)


def test_all_classes_at_once_equal_the_classes_one_by_one():
    """500 images, cues overlapping."""
    rng, added, overlapping = np.random.default_rng(0), 0, 0
    for _ in range(100):
        cues, probabilities, tags, foreground, background, valid = case = random_case(rng)
        found = grow_seeds(*as_tensors(*case)).numpy()
        for i in range(len(cues)):
            plain = plain_growing(cues[i], probabilities[i], tags[i], foreground, background, valid[i])
            np.testing.assert_array_equal(found[i], plain)
        added, overlapping = added + (found & ~cues).sum(), overlapping + (cues.sum(1) > 1).sum()
    assert added > 1000 and overlapping > 1000


def test_images_do_not_see_each_other_and_mirror_images_mirror():
    cues, probabilities, tags, *thresholds, valid = as_tensors(*random_case(np.random.default_rng(3), images=6))
    whole = grow_seeds(cues, probabilities, tags, *thresholds, valid)
    single = [grow_seeds(cues[i:i + 1], probabilities[i:i + 1], tags[i:i + 1], *thresholds, valid[i:i + 1])
              for i in range(6)]
    assert torch.equal(whole, torch.cat(single))
    mirrored = grow_seeds(cues.flip(3), probabilities.flip(3), tags, *thresholds, valid.flip(2))
    assert torch.equal(mirrored.flip(3), whole)


def test_inputs_stay_as_they_are_and_no_gradient_is_kept():
    cues, probabilities, tags, *rest = as_tensors(*random_case(np.random.default_rng(1)))
    kept = cues.clone(), probabilities.clone(), tags.clone()
    grown = grow_seeds(cues, probabilities.requires_grad_(), tags, *rest)
    assert not grown.requires_grad and (grown & ~cues).any() and not (cues & ~grown).any()
    for before, after in zip(kept, (cues, probabilities.detach(), tags), strict=True):
        assert torch.equal(before, after)
    assert torch.equal(grow_seeds(grown, torch.zeros_like(probabilities), tags, *rest), grown)


def test_both_thresholds_are_strict():
    cues = torch.zeros(1, 2, 1, 4, dtype=torch.bool)
    cues[0, 0, 0, 0] = cues[0, 1, 0, 3] = True
    probabilities = torch.tensor([[.75, .75, .25, .25], [.25, .25, .75, .75]]).view(1, 2, 1, 4)
    tags = torch.ones(1, 2, dtype=torch.bool)
    for background in (.7, .75):
        for foreground in (.7, .75):
            grown = grow_seeds(cues, probabilities, tags, foreground, background)[0, :, 0]
            assert grown[0].tolist() == [True, background < .75, False, False]
            assert grown[1].tolist() == [False, False, foreground < .75, True]


def test_nothing_grows_through_padding():
    cues = torch.zeros(1, 2, 1, 5, dtype=torch.bool)
    cues[0, 1, 0, 0] = True
    probabilities = torch.tensor([.05, .95]).view(1, 2, 1, 1).expand(1, 2, 1, 5)
    valid = torch.tensor([[[True, True, False, True, True]]])
    tags = torch.ones(1, 2, dtype=torch.bool)
    assert grow_seeds(cues, probabilities, tags)[0, 1, 0].tolist() == [True] * 5
    assert grow_seeds(cues, probabilities, tags, valid=valid)[0, 1, 0].tolist() == [True, True, False, False, False]


def test_images_without_tags_or_cues():
    probabilities = torch.full((2, 3, 4, 4), .1)
    probabilities[:, 1] = .9
    tags = torch.tensor([[True, True, False], [False, False, False]])
    nothing = torch.zeros(2, 3, 4, 4, dtype=torch.bool)
    assert not grow_seeds(nothing, probabilities, tags).any()
    assert not grow_seeds(nothing, probabilities, torch.zeros_like(tags)).any()


@pytest.mark.parametrize('thresholds, message', [((1.2, .9), 'foreground_threshold=1.2'),
                                                 ((.9, float('nan')), 'background_threshold=nan')])
def test_thresholds_are_probabilities(thresholds, message):
    with pytest.raises(ConfigError, match=message):
        grow_seeds(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), torch.ones(1, 2), *thresholds)
