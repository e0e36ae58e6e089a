"""Toy VOC: the same bits everywhere, exact masks, the profiles' laws, VOC's layout, resumed drawing."""

import hashlib
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from wsss_mm.datasets.toy_voc import (
    PATCH_NAMES,
    PROFILES,
    TOY_CLASSES,
    TOY_PALETTE,
    draw_patches,
    draw_toy_voc,
    exact,
    is_complete,
    objects,
    patches,
    scene,
    voc_palette,
    writer,
)
from wsss_mm.errors import ConfigError, DataError

COUNTS = dict(train=7, val=2, test=0, test_decor=1, ood=3, ood_test=0)
SAMPLE = 120


@pytest.fixture(scope='module', params=['boxes', 'tags'])
def sample(request):
    """The first train scenes of one profile."""
    return request.param, [scene(request.param, 0, 'train', i) for i in range(SAMPLE)]


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """A small drawn folder and its marker."""
    root = tmp_path_factory.mktemp('toy') / 'world'
    return root, draw_toy_voc(root, 'boxes', 0, COUNTS, workers=1)


def contents(root):
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(root.rglob('*')) if p.is_file()}


# ---------------------------------------------------------------- the same on every machine

@pytest.mark.parametrize(('profile', 'split', 'index', 'start'), [
    ('boxes', 'train', 0, 'dd793b13e1abd20d'),
    ('boxes', 'train', 17, '5d02c84c4d2c2e16'),
    ('boxes', 'test_decor', 3, '4217f6166cb9906b'),
    ('tags', 'train', 4, '50c80fcc24bf15db'),
    ('tags', 'val', 11, '0a0774210aecb890'),
    ('tags', 'ood', 2, '2be4ba32a5d5cdbc'),
])
def test_scene_bits_are_those_of_every_other_machine(profile, split, index, start):
    assert scene(profile, 0, split, index).sha256().startswith(start)


@pytest.mark.parametrize(('profile', 'start'), [('boxes', 'a2c6dfd282d06e7a'), ('tags', 'e69a8ba8c6e37cee')])
def test_patch_bits_are_those_of_every_other_machine(profile, start):
    images, labels, names = patches(profile, 0, 44)
    assert hashlib.sha256(images.tobytes()).hexdigest().startswith(start)
    np.testing.assert_array_equal(labels, np.arange(44) % 22)
    assert names == PATCH_NAMES and len(set(names)) == 22


def test_scenes_do_not_depend_on_order_and_differ_by_seed_split_and_index():
    one = scene('boxes', 0, 'train', 5).sha256()
    scene('tags', 9, 'val', 1)
    assert scene('boxes', 0, 'train', 5).sha256() == one
    others = {scene(*key).sha256() for key in (('boxes', 1, 'train', 5), ('boxes', 0, 'val', 5),
                                               ('boxes', 0, 'train', 11), ('tags', 0, 'train', 5))}
    assert len(others | {one}) == 5


def test_draws_follow_the_raw_words():
    draws, words = exact.Draws(1, 2), np.random.PCG64(np.random.SeedSequence((1, 2))).random_raw(3)
    assert draws.uniform() == int(words[0] >> np.uint64(11)) / 2 ** 53
    byte_sum = sum(int(words[1]).to_bytes(8, 'little'))
    assert draws.normal() == pytest.approx((byte_sum - 1020) / np.sqrt(8 * 65535 / 12), abs=1e-6)
    assert draws.chance(1.) and not draws.chance(0.)


def test_draws_moments():
    values = exact.Draws(3).normals(200_000)
    assert abs(values.mean()) < .01 and abs(values.std() - 1) < .01
    draws = exact.Draws(4)
    picked = [draws.choose('abc', (.5, .3, .2)) for _ in range(4000)]
    assert picked.count('a') / 4000 == pytest.approx(.5, abs=.03)
    assert picked.count('c') / 4000 == pytest.approx(.2, abs=.03)


def test_wave_is_close_to_sine():
    phase = np.linspace(-30, 30, 2001)
    np.testing.assert_allclose(exact.wave(phase), np.sin(phase), atol=.002)


def test_area_reduction_keeps_the_mean_and_matches_blocks():
    image = exact.Draws(5).normals(102, 51)
    reduced = exact.reduce_area(image, 60, 30)
    assert reduced.mean() == pytest.approx(image.mean(), abs=1e-6)
    np.testing.assert_allclose(exact.reduce_area(image, 34, 17), image.reshape(34, 3, 17, 3).mean((1, 3)), atol=1e-6)
    np.testing.assert_allclose(exact.reduce_area(image[:, :50], 51, 25),
                               image[:, :50].reshape(51, 2, 25, 2).mean((1, 3)), atol=1e-6)


def test_blur_matches_scipy():
    ndimage = pytest.importorskip('scipy.ndimage')
    image = exact.Draws(6).normals(40, 30)
    for sigma in (.3, .8, 2.5):
        radius = max(1, int(np.ceil(3 * sigma)))
        expected = ndimage.gaussian_filter(image.astype(float), sigma, mode='nearest', radius=radius)
        np.testing.assert_allclose(exact.blur(image, sigma), expected, atol=1e-5)


def test_slow_part_is_close_to_a_wide_blur():
    ndimage = pytest.importorskip('scipy.ndimage')
    image = np.stack([exact.noise(exact.Draws(7, k), 96, 96, 24) for k in range(3)], 2)
    wide = ndimage.gaussian_filter(image.astype(float), (9.6, 9.6, 0), mode='nearest')
    assert np.abs(exact.slow_part(image, 9.6) - wide)[5:-5, 5:-5].mean() < .05 * image.std()


# ---------------------------------------------------------------- shapes

def test_polygon_and_ellipse_areas():
    v, u = np.mgrid[-2:2:400j, -2:2:400j]
    cell = (4 / 399) ** 2
    bar = objects.limb(-1, 0, 1, 0, .25, .25)
    assert bar.covers(u, v).sum() * cell == pytest.approx(1., rel=.02)
    turned = objects.limb(-.6, -.8, .6, .8, .25, .25)
    assert turned.covers(u, v).sum() * cell == pytest.approx(1., rel=.02)
    assert objects.Ellipse(.2, -.1, 1.2, .5, .7).covers(u, v).sum() * cell == pytest.approx(np.pi * .6, rel=.02)
    notched = objects.polygon((0, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))
    assert notched.covers(np.array(0.), np.array(.5)) == False  # noqa: E712
    assert notched.covers(np.array(0.), np.array(-.5)) == True  # noqa: E712


# ---------------------------------------------------------------- masks and annotations

def test_instances_partition_the_class_mask_and_boxes_are_tight(sample):
    _, scenes = sample
    for s in scenes:
        assert s.objects and s.image.dtype == np.uint8 and s.image.shape == (96, 96, 3)
        np.testing.assert_array_equal(np.unique(s.instances[s.instances > 0]), np.arange(1, len(s.objects) + 1))
        np.testing.assert_array_equal(s.instances > 0, s.classes > 0)
        for k, item in enumerate(s.objects, 1):
            mask = s.instances == k
            assert (s.classes[mask] == item.label).all() and TOY_CLASSES[item.label] == item.name
            ys, xs = np.nonzero(mask)
            assert item.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            at_edge = min(item.box[:2]) == 0 or max(item.box[2:]) == 96
            assert item.truncated == at_edge
            assert mask.sum() >= 40
        assert not s.head[s.classes == 0].any() and not s.context[s.classes > 0].any()


def test_masks_follow_the_pixels():
    """Edges of the image lie on the mask's contour: the gradient there is well above the objects' inside."""
    on, off = [], []
    for i in range(24):
        s = scene('boxes', 0, 'train', i)
        jump = np.abs(np.diff(s.image.astype(float).mean(2), axis=1))
        border = np.diff((s.classes > 0).astype(int), axis=1) != 0
        on.append(jump[border].mean())
        off.append(jump[~border].mean())
    assert np.mean(on) > 2 * np.mean(off)


# ---------------------------------------------------------------- what the profiles promise

def test_profile_facts(sample):
    name, scenes = sample
    fill = np.mean([(s.instances[b.box[1]:b.box[3], b.box[0]:b.box[2]] == k).mean()
                    for s in scenes for k, b in enumerate(s.objects, 1)])
    foreground = np.mean([(s.classes > 0).mean() for s in scenes])
    head = sum(s.head.sum() for s in scenes) / sum((s.classes > 0).sum() for s in scenes)
    number = np.mean([len(s.objects) for s in scenes])
    expected = dict(boxes=(.43, .175, .28), tags=(.52, .22, .33))[name]
    assert fill == pytest.approx(expected[0], abs=.04)
    assert foreground == pytest.approx(expected[1], abs=.03)
    assert head == pytest.approx(expected[2], abs=.03)
    assert number == pytest.approx(1.53, abs=.15)


def test_ground_follows_the_class(sample):
    name, scenes = sample
    grounds = PROFILES[name].class_grounds
    own = []
    for i, s in enumerate(scenes):
        present = {item.name for item in s.objects}
        if name == 'boxes':                              # the scene's first class, which its index gives
            own.append(s.ground == grounds[TOY_CLASSES[1 + i % 6]])
        elif len(present & grounds.keys()) == 1:
            own.append(s.ground == grounds[next(iter(present & grounds.keys()))])
            assert len(present & grounds.keys()) <= 1
    assert np.mean(own) == pytest.approx(.93, abs=.06)


def test_ground_is_shuffled_in_test_decor():
    own = []
    for i in range(60):
        s = scene('boxes', 0, 'test_decor', i)
        own.append(s.ground == PROFILES['boxes'].class_grounds[TOY_CLASSES[1 + i % 6]])
    assert np.mean(own) < .35


@pytest.mark.parametrize('split', ['ood', 'ood_test'])
def test_empty_splits_have_contexts_and_no_object(split):
    scenes = [scene('tags', 0, split, i) for i in range(6)]
    assert all(not s.objects and not s.classes.any() and not s.head.any() for s in scenes)
    assert [s.ground for s in scenes][:2] == ['water', 'rail']
    assert all(s.context.any() == (s.ground in ('water', 'rail')) for s in scenes)


@pytest.mark.parametrize('profile', ['boxes', 'tags'])
def test_bodies_carry_the_class_pattern(profile):
    """Upright cat bars, level cow bars: brightness of a body changes along x or along y."""
    images, labels, names = patches(profile, 3, 22 * 12)
    grey = images.astype(float).mean(3)

    def lengthwise(name):
        own = grey[labels == names.index(name)]
        return np.abs(np.diff(own, axis=2)).mean() / np.abs(np.diff(own, axis=1)).mean()
    assert lengthwise('cat_body') > 1.1 > .9 > lengthwise('cow_body')
    assert lengthwise('cat_head') > 1.1 > .9 > lengthwise('cow_head')


# ---------------------------------------------------------------- VOC's layout

def test_palette_is_vocs():
    assert TOY_PALETTE == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128],
                           [0, 128, 128]]
    assert voc_palette()[15].tolist() == [192, 128, 128] and voc_palette()[255].tolist() == [224, 224, 192]
    assert TOY_CLASSES == ('background', 'cat', 'dog', 'cow', 'car', 'train', 'boat')


def test_void_contour_is_one_pixel_of_background():
    instances = np.zeros((6, 7), np.uint8)
    instances[2:4, 2:4] = 1
    classes, inst = writer.add_void_contour(instances * 5, instances)
    expected = np.zeros((6, 7), np.uint8)
    expected[1:5, 1:5] = 255
    expected[2:4, 2:4] = 1
    np.testing.assert_array_equal(inst, expected)
    np.testing.assert_array_equal(classes, np.where(expected == 1, 5, expected))


def test_folder_reads_back_as_the_scenes(drawn):
    root, _ = drawn
    assert (root / 'ImageSets/Segmentation/train.txt').read_text().split() == [f'train_{i:05d}' for i in range(7)]
    for i in range(7):
        s, name = scene('boxes', 0, 'train', i), f'train_{i:05d}'
        image = np.asarray(Image.open(root / f'JPEGImages/{name}.jpg')).astype(int)
        assert np.abs(image - s.image).mean() < 4           # JPEG of a noisy image
        stored = Image.open(root / f'SegmentationClass/{name}.png')
        assert stored.mode == 'P' and stored.getpalette()[3:6] == [128, 0, 0]
        classes, instances = np.asarray(stored), np.asarray(Image.open(root / f'SegmentationObject/{name}.png'))
        np.testing.assert_array_equal(classes[s.classes > 0], s.classes[s.classes > 0])
        np.testing.assert_array_equal(instances[instances != 255], s.instances[instances != 255])
        assert (s.classes[classes == 255] == 0).all() and (classes == 255).any()
        np.testing.assert_array_equal(np.asarray(Image.open(root / f'ToyExtra/Head/{name}.png')) > 0, s.head)
        np.testing.assert_array_equal(np.asarray(Image.open(root / f'ToyExtra/Context/{name}.png')) > 0, s.context)
        tree = ElementTree.parse(root / f'Annotations/{name}.xml')
        boxes = [tuple(int(o.findtext(f'bndbox/{f}')) for f in ('xmin', 'ymin', 'xmax', 'ymax'))
                 for o in tree.findall('object')]
        # 1-based and inclusive: the first column is 1, the last one the width.
        assert boxes == [(b[0] + 1, b[1] + 1, b[2], b[3]) for b in (o.box for o in s.objects)]
        assert [o.findtext('name') for o in tree.findall('object')] == [o.name for o in s.objects]
    tree = ElementTree.parse(root / 'Annotations/ood_00000.xml')
    assert tree.find('object') is None and not np.asarray(Image.open(root / 'SegmentationClass/ood_00000.png')).any()


def test_class_lists(drawn):
    root, _ = drawn
    for c in TOY_CLASSES[1:]:
        lines = (root / f'ImageSets/Main/{c}_train.txt').read_text().splitlines()
        assert len(lines) == 7
        for i, line in enumerate(lines):
            name, flag = line.split()
            assert name == f'train_{i:05d}'
            assert (flag == '1') == (c in {o.name for o in scene('boxes', 0, 'train', i).objects})
    assert (root / 'ImageSets/Main/cat_ood.txt').read_text().count('-1') == 3


# ---------------------------------------------------------------- resume, refusal, workers

def test_marker_and_second_call(drawn):
    root, marker = drawn
    assert marker['profile'] == 'boxes' and marker['seed'] == 0 and marker['counts'] == COUNTS
    assert is_complete(root, 'boxes', 0, COUNTS) and not is_complete(root, 'boxes', 1, COUNTS)
    assert not is_complete(root, 'boxes', 0) and not is_complete(root / 'elsewhere')
    before = {p: p.stat().st_mtime_ns for p in root.rglob('*') if p.is_file()}
    assert draw_toy_voc(root, 'boxes', 0, COUNTS) == marker
    assert {p: p.stat().st_mtime_ns for p in root.rglob('*') if p.is_file()} == before
    assert not list(root.rglob('.*')) and not (root / writer.UNFINISHED).exists()


def test_workers_do_not_matter(drawn, tmp_path):
    root, marker = drawn
    seen = []
    assert draw_toy_voc(tmp_path / 'w', 'boxes', 0, COUNTS, lambda *x: seen.append(x), workers=3) == marker
    assert seen == [(i, 13) for i in range(1, 14)]
    assert contents(tmp_path / 'w') == contents(root)


def test_an_interrupted_drawing_is_taken_up(drawn, tmp_path, monkeypatch):
    root, marker = drawn
    again = tmp_path / 'again'

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        draw_toy_voc(again, 'boxes', 0, COUNTS, stop, workers=1)
    assert not is_complete(again, 'boxes', 0, COUNTS)
    with pytest.raises(DataError, match='seed=0'):       # half drawn: another world may not be mixed in
        draw_toy_voc(again, 'boxes', 1, COUNTS, workers=1)
    # A file cut short by a power failure, one that is missing, one left half renamed.
    (again / 'Annotations/train_00001.xml').write_text('<annotation>')
    (again / 'SegmentationClass/train_00002.png').unlink()
    (again / 'JPEGImages/train_00003.jpg').write_bytes(b'')
    (again / 'JPEGImages/.train_00004.jpg.tmp-0-1').write_bytes(b'half')
    calls = []
    monkeypatch.setattr(writer, 'scene', lambda *a: calls.append(a) or scene(*a))
    assert draw_toy_voc(again, 'boxes', 0, COUNTS, workers=1) == marker
    assert [c[3] for c in calls if c[2] == 'train'] == [1, 2, 3, 4, 5, 6]      # image 0 was kept
    assert contents(again) == contents(root)


@pytest.mark.parametrize(('change', 'field'), [(dict(seed=1), 'seed'), (dict(profile='tags'), 'profile'),
                                               (dict(counts={**COUNTS, 'val': 1}), 'counts')])
def test_another_drawing_in_the_same_folder_is_refused(drawn, change, field):
    root, _ = drawn
    with pytest.raises(DataError, match=f'drawn with {field}=') as caught:
        draw_toy_voc(root, **{**dict(profile='boxes', seed=0, counts=COUNTS), **change}, workers=1)
    assert 'another folder' in str(caught.value) and 'toy_voc.json' in str(caught.value)


def test_an_older_generator_and_a_broken_marker_are_refused(drawn, tmp_path):
    root = tmp_path / 'old'
    root.mkdir()
    shutil.copy(drawn[0] / writer.MARKER, root)
    text = (root / writer.MARKER).read_text()
    (root / writer.MARKER).write_text(text.replace(f'"generator": {writer.GENERATOR}', '"generator": 0'))
    with pytest.raises(DataError, match='generator=0'):
        draw_toy_voc(root, 'boxes', 0, COUNTS)
    assert not is_complete(root, 'boxes', 0, COUNTS)
    (root / writer.MARKER).write_text(text[:20])
    with pytest.raises(DataError, match='not readable'):
        draw_toy_voc(root, 'boxes', 0, COUNTS)


@pytest.mark.parametrize('arguments', [dict(profile='pixels'), dict(counts=dict(trian=3)), dict(counts=dict(val=-1)),
                                       dict(seed=-1)])
def test_bad_arguments(tmp_path, arguments):
    with pytest.raises(ConfigError):
        draw_toy_voc(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('arguments', [dict(profile='x'), dict(split='x'), dict(seed=-1), dict(index=-1)])
def test_bad_scene(arguments):
    with pytest.raises(ConfigError):
        scene(**arguments)


def test_patches_on_the_disk(tmp_path):
    marker = draw_patches(tmp_path, 'boxes', 2, 30)
    with np.load(tmp_path / 'patches.npz', allow_pickle=False) as stored:
        images, labels, names = stored['images'], stored['labels'], stored['names']
    expected = patches('boxes', 2, 30)
    np.testing.assert_array_equal(images, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert labels.dtype == np.int64 and tuple(names.tolist()) == expected[2]
    time = (tmp_path / 'patches.npz').stat().st_mtime_ns
    assert draw_patches(tmp_path, 'boxes', 2, 30) == marker
    assert (tmp_path / 'patches.npz').stat().st_mtime_ns == time
    with pytest.raises(DataError, match='drawn with n=30'):
        draw_patches(tmp_path, 'boxes', 2, 31)
    with pytest.raises(ConfigError):
        draw_patches(tmp_path / 'x', 'nothing')
