"""The other images of an adaptation: which they are, how they are augmented, and that the image alone decides it."""

import json
import pickle
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from wsss_mm.errors import ConfigError, DataError, WSSSError
from wsss_mm.localization.auxiliary_images import AuxiliaryImages, seeded
from wsss_mm.registry import MODELS

PIPELINE = [
    dict(type='wsss_mm.LoadImage'),
    dict(type='wsss_mm.LoadWeakLabels', boxes=False),
    dict(type='wsss_mm.RandomScale', ratio_range=(.5, 1.2)),
    dict(type='wsss_mm.RandomCropWithBoxes', crop_size=(48, 48)),
    dict(type='RandomFlip', prob=.5),
    dict(type='wsss_mm.ColorJitter', brightness=.3, contrast=.3, saturation=.3),
    dict(type='wsss_mm.PackWeakInputs')]


@pytest.fixture
def tagged(toy_root, tmp_path):
    """Twelve images: two of class 0, four of classes 0 and 1, four of class 2, one of class 5, one of none."""
    root = tmp_path / 'tagged'
    shutil.copytree(toy_root / 'JPEGImages', root / 'JPEGImages')
    names = ['bird', 'boat', 'car', 'cat', 'dog', 'train']
    ids = [f'train_{i:05d}' for i in range(12)]
    tags = [[0]] * 2 + [[0, 1]] * 4 + [[2]] * 4 + [[5]] + [[]]
    (root / 'tags.json').write_text(json.dumps({i: [names[t] for t in own] for i, own in zip(ids, tags, strict=True)}))
    (root / 'list.txt').write_text('\n'.join(ids) + '\n')
    return dict(
        type='wsss_mm.WeakSegDataset', metainfo=dict(classes=('background', *names)), data_root=str(root),
        ann_file='list.txt', box_dir=None, tag_file='tags.json', pipeline=PIPELINE,
        data_prefix=dict(img_path='JPEGImages'))


@pytest.fixture(scope='session')
def normaliser():
    return SimpleNamespace(data_preprocessor=MODELS.build(Config(dict(
        type='wsss_mm.WeakSegDataPreProcessor', mean=[110.] * 3, std=[60.] * 3, bgr_to_rgb=True, pad_val=0,
        seg_pad_val=255, size=(48, 48)))))


def tags_of(*classes):
    return torch.tensor([c in classes for c in range(6)])


def load(others, model, image_id='a', tags=(0,), batches=3):
    found = list(others.batches(model, image_id, tags_of(*tags), batches))
    return [torch.stack(part) for part in zip(*found, strict=True)]


def test_images_of_other_classes_are_drawn(tagged):
    others = AuxiliaryImages(tagged, batch_size=3, num_workers=0)
    for tags, pool in (((0,), range(6, 12)), ((1,), (0, 1, *range(6, 12))), ((0, 2), (10, 11)), ((3,), range(12))):
        drawn = others.draw('elsewhere', tags_of(*tags), 4)
        assert drawn.shape == (4, min(3, len(pool))) and set(drawn.ravel()) <= set(pool)
        first = drawn.ravel()[:len(pool)]
        assert len(set(first)) == len(first)       # none twice before all have been
        assert all(len(set(batch)) == len(batch) for batch in drawn)
        if len(pool) <= drawn.size:
            assert set(drawn.ravel()) == set(pool)
        # from the beginning, where they do not suffice
        np.testing.assert_array_equal(drawn.ravel(), np.resize(first, drawn.size))


def test_the_image_itself_is_not_among_them(tagged):
    others = AuxiliaryImages(tagged, batch_size=20, num_workers=0)
    assert sorted(others.draw('train_00007', tags_of(5), 1)[0]) == [0, 1, 2, 3, 4, 5, 6, 8, 9, 11]
    for image in range(12):
        drawn = others.draw(f'train_{image:05d}', tags_of(), 1)[0]
        assert sorted(drawn) == [i for i in range(12) if i != image]
    anything = AuxiliaryImages(tagged, batch_size=20, disjoint=False, num_workers=0)
    assert sorted(anything.draw('train_00003', tags_of(0, 1), 1)[0]) == [0, 1, 2, *range(4, 12)]


def test_draws_depend_on_seed_and_image_alone(tagged):
    others = AuxiliaryImages(tagged, batch_size=3, num_workers=0)
    first = {name: others.draw(name, tags_of(3), 3).tolist() for name in 'abcdef'}
    assert len({str(drawn) for drawn in first.values()}) == 6
    again = AuxiliaryImages(tagged, batch_size=3, num_workers=0)
    assert {name: again.draw(name, tags_of(3), 3).tolist() for name in 'fdbace'} == first
    assert again.draw('a', tags_of(3), 2).tolist() == first['a'][:2]
    assert AuxiliaryImages(tagged, batch_size=3, seed=1, num_workers=0).draw('a', tags_of(3), 3).tolist() != first['a']


def test_every_image_is_drawn_about_equally_often(tagged):
    others = AuxiliaryImages(tagged, batch_size=3, num_workers=0)
    drawn = np.concatenate([others.draw(str(i), tags_of(3), 1)[0] for i in range(400)])
    assert (abs(np.bincount(drawn, minlength=12) - 100) < 30).all()


def test_no_images(tagged, normaliser):
    # of classes 0, 2 and 5, only the image without a tag has none
    assert AuxiliaryImages(tagged, num_workers=0).draw('a', tags_of(0, 2, 5), 3).tolist() == [[11]] * 3
    alone = AuxiliaryImages(tagged, num_workers=0)
    for others, image_id in ((AuxiliaryImages(None), 'a'), (AuxiliaryImages(tagged, batch_size=0), 'a'),
                             (alone, 'train_00011')):
        assert others.draw(image_id, tags_of(0, 2, 5), 3).shape == (3, 0)
        assert list(others.batches(normaliser, image_id, tags_of(0, 2, 5), 3)) == []


def test_batches(tagged, normaliser):
    others = AuxiliaryImages(tagged, batch_size=4, num_workers=0)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    images, labels = load(others, normaliser)
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert images.shape == (3, 4, 3, 48, 48) and not labels[..., 0].any() and not labels[..., 1].any()
    drawn = others.draw('a', tags_of(0), 3)
    expected = torch.from_numpy(others._tags[drawn]).float()
    assert torch.equal(labels, expected)
    # six images in two rounds: the second time they are cut and coloured in another way
    rounds = images.flatten(0, 1)[:6], images.flatten(0, 1)[6:]
    assert (drawn.ravel()[:6] == drawn.ravel()[6:]).all() and (rounds[0] - rounds[1]).abs().amax((1, 2, 3)).min() > .1
    np.random.seed(5)
    others.draw('b', tags_of(0), 3)
    again, _ = load(AuxiliaryImages(tagged, batch_size=4, num_workers=0), normaliser)
    assert torch.equal(images, again)
    assert not torch.equal(images, load(others, normaliser, 'b')[0])


def test_worker_processes_change_nothing(tagged, normaliser):
    expected = [load(AuxiliaryImages(tagged, batch_size=4, num_workers=0), normaliser, name)[0] for name in 'ab']
    others = AuxiliaryImages(tagged, batch_size=4, num_workers=1)
    left = others.batches(normaliser, 'c', tags_of(0), 3)
    next(left)      # an image that stops early
    for name, images in zip('ab', expected, strict=True):
        assert torch.equal(load(others, normaliser, name)[0], images)
    with pytest.raises(WSSSError, match='after those of another'):
        next(left)


def test_it_is_sent_without_the_data(tagged, normaliser):
    others = AuxiliaryImages(tagged, batch_size=2, num_workers=0)
    size = len(pickle.dumps(others))
    images, _ = load(others, normaliser)
    assert len(pickle.dumps(others)) == size < 2500
    assert torch.equal(load(pickle.loads(pickle.dumps(others)), normaliser)[0], images)


def test_seeds_reach_all_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()
    before = draw()
    with seeded(2 ** 64 - 1):
        first = draw()
    with seeded(2 ** 64 - 1):
        assert draw() == first
    with seeded(7):
        assert all(a != b for a, b in zip(draw(), first, strict=True))
    assert all(a != b for a, b in zip(draw(), before, strict=True))


def test_an_image_that_cannot_be_read(tagged, normaliser):
    (Path(tagged['data_root']) / 'JPEGImages/train_00008.jpg').write_bytes(b'no image')
    with pytest.raises(DataError) as error:
        load(AuxiliaryImages(tagged, batch_size=6, num_workers=0), normaliser)
    assert 'train_00008' in str(error.value.file)


def test_data_of_other_classes(tagged):
    with pytest.raises(ConfigError, match=r"'train_00010' has the classes \[5\]"):
        AuxiliaryImages(tagged).draw('a', tags_of(0)[:4], 1)
    with pytest.raises(ConfigError, match='has the classes None'):
        AuxiliaryImages(tagged | dict(tag_file=None)).draw('a', tags_of(0), 1)
