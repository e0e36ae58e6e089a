"""Collecting out-of-distribution images: ids, scores that resume, draws, erasure, and the tool around them."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wsss_mm.datasets import OoDImages
from wsss_mm.datasets.toy_voc import TOY_CLASSES
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.models.data_preprocessor import WeakSegDataPreProcessor
from wsss_mm.pseudo_labels.ood_candidates import (
    ScoreFile,
    by_class,
    draw_order,
    hard_candidates,
    list_images,
    read_candidate,
    score_images,
    write_list,
)
from wsss_mm.pseudo_labels.ood_erasure import erase, mean_colour

COLOURS = ['red', 'green', 'blue']


class ByColour(nn.Module):
    """A classifier of known scores: the logit of red is 8 times the mean red in [0, 1], less 4."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.data_preprocessor = WeakSegDataPreProcessor(mean=[0.] * 3, std=[255.] * 3, bgr_to_rgb=True)
        self.sizes, self.stop_at = [], stop_at

    def forward(self, inputs):
        if len(self.sizes) == self.stop_at:
            raise KeyboardInterrupt
        self.sizes.append(tuple(inputs.shape))
        return inputs.mean((2, 3)) * 8 - 4


def paint(path, colour, size=(6, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size[::-1], colour).save(path)


@pytest.fixture
def painted(tmp_path):
    """Seven images of two sizes; one cannot be read."""
    folder = tmp_path / 'images'
    for i in range(6):
        paint(folder / f'i{i}.png', (255 - 40 * i, 40 * i, 0), (6, 9) if i % 3 else (4, 4))
    (folder / 'broken.png').write_bytes((folder / 'i1.png').read_bytes()[:40])
    return folder


def p_of(value):
    return 1 / (1 + np.exp(4 - 8 * value / 255))


# ---- ids

def test_every_id_leads_to_its_file_and_the_dataset_reads_the_list(tmp_path):
    folder = tmp_path / 'images'
    for name in ('a.jpg', 'b.png', 'sub/a.jpeg', 'sub/deep/ä,"x.png', 'two.jpg', 'two.png', 'v1.2.jpg', 'w.webp',
                 'UP.JPG', 'line\nbreak.png', ' edge.jpg'):
        paint(folder / name, (9, 9, 9))
    (folder / '.cache').mkdir()
    paint(folder / '.cache/hidden.jpg', (0, 0, 0))
    (folder / 'notes.txt').write_text('')
    found, failures = list_images(folder)
    named = {'a': 'a.jpg', 'b': 'b.png', 'sub/a': 'sub/a.jpeg', 'sub/deep/ä,"x': 'sub/deep/ä,"x.png',
             'two': 'two.jpg', 'v1.2': 'v1.2.jpg'}
    assert {i: found[i].relative_to(folder).as_posix() for i in named} == named
    assert len(found) + len(failures) == 11 and {'line\\nbreak.png', ' edge.jpg'} <= set(failures)
    write_list(tmp_path / 'list.txt', found)
    dataset = OoDImages(str(tmp_path / 'list.txt'), data_prefix=dict(img_path=str(folder)))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert {info['img_id']: info['img_path'] for info in infos} == {i: str(path) for i, path in found.items()}


def test_a_folder_without_images(tmp_path):
    with pytest.raises(DataError, match='no such folder'):
        list_images(tmp_path / 'none')
    with pytest.raises(DataError, match='no image in this folder'):
        list_images(tmp_path)


# ---- scores

def run(painted, out, model, todo=None, **options):
    images, _ = list_images(painted)
    table = ScoreFile(out, dict(model='x'))
    failures = score_images(model, images, images if todo is None else todo, table, COLOURS, **options)
    table.finish()
    return table, failures


def test_scores_are_sigmoids_of_the_mean_colour(painted, tmp_path):
    model = ByColour()
    table, failures = run(painted, tmp_path / 'out', model, batch_size=2)
    assert list(failures) == ['broken'] and 'not readable as an image' in failures['broken']
    for i in range(6):
        expected = sorted({'red': p_of(255 - 40 * i), 'green': p_of(40 * i), 'blue': p_of(0)}.items(),
                          key=lambda pair: -pair[1])
        expected = [pair for rank, pair in enumerate(expected) if rank == 0 or pair[1] >= .01]
        assert [n for n, _ in table.scores[f'i{i}']] == [n for n, _ in expected]
        np.testing.assert_allclose([p for _, p in table.scores[f'i{i}']], [p for _, p in expected], rtol=1e-5)
    assert (table.path.read_text().splitlines()[:3]
            == ['image,class,p', f'i0,red,{np.float32(p_of(255)):.9g}', 'i0,green,0.0179862101'])
    # images of one size together, never more than two
    assert sorted(model.sizes) == [(2, 3, 4, 4), (2, 3, 6, 9), (2, 3, 6, 9)]


def test_long_side(painted, tmp_path):
    model = ByColour()
    run(painted, tmp_path / 'out', model, ['i0', 'i1'], batch_size=1, long_side=18)
    assert model.sizes == [(1, 3, 18, 18), (1, 3, 12, 18)]
    assert read_candidate(painted / 'i1.png').shape == (6, 9, 3)


@pytest.mark.parametrize('stop_at', [0, 1, 2])
def test_a_killed_run_goes_on_to_the_same_file(painted, tmp_path, stop_at):
    run(painted, tmp_path / 'whole', ByColour(), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        run(painted, tmp_path / 'cut', ByColour(stop_at), batch_size=2)
    model = ByColour()
    with open(tmp_path / 'cut/scores.csv', 'ab') as stream:
        stream.write(b'i5,gre')   # the line it was writing
    run(painted, tmp_path / 'cut', model, batch_size=2)
    assert (tmp_path / 'cut/scores.csv').read_bytes() == (tmp_path / 'whole/scores.csv').read_bytes()
    assert len(model.sizes) == 3 - stop_at + (stop_at > 0)   # the last image's lines may not have been all
    again = ByColour()
    run(painted, tmp_path / 'cut', again, batch_size=2)
    assert not again.sizes


def test_further_images_are_added_and_other_settings_refused(painted, tmp_path):
    out = tmp_path / 'out'
    table, _ = run(painted, out, ByColour(), ['i3', 'i4'])
    assert list(table.scores) == ['i3', 'i4']
    table, _ = run(painted, out, ByColour(), ['i1', 'i4'])
    assert list(table.scores) == ['i1', 'i3', 'i4']
    with pytest.raises(ConfigError, match='made with other settings; changed: model'):
        ScoreFile(out, dict(model='y'))
    (out / 'scores.csv').write_text('image,class,p\ni3,red,high\n')
    with pytest.raises(DataError, match='not readable as scores'):
        ScoreFile(out, dict(model='x'))


def test_one_image_that_the_network_cannot_take_stops_nothing(painted, tmp_path):
    class NoSquares(ByColour):
        def forward(self, inputs):
            if inputs.shape[2] == inputs.shape[3] and (len(inputs) > 1 or inputs[0, 0].mean() > .9):
                raise RuntimeError('too square')
            return super().forward(inputs)
    table, failures = run(painted, tmp_path / 'out', NoSquares())
    assert set(failures) == {'broken', 'i0'} and 'too square' in failures['i0'] and len(table.scores) == 5


# ---- choosing

SCORES = {'a': [('red', .9), ('green', .6)], 'b': [('green', .7)], 'c': [('red', .95)], 'd': [('blue', .2)],
          'e': [('red', .5), ('blue', .4)], 'f': [('green', .7)]}


def test_hard_candidates_by_class():
    hard = hard_candidates(SCORES)
    assert hard == {'a': [('red', .9), ('green', .6)], 'b': [('green', .7)], 'c': [('red', .95)],
                    'e': [('red', .5)], 'f': [('green', .7)]}
    assert by_class(hard, COLOURS) == {'red': ['c', 'a', 'e'], 'green': ['b', 'f']}
    assert by_class(hard, COLOURS, 3) == {'red': ['c', 'a'], 'green': ['b']}   # the best of every class in turn
    for threshold in (0, .001, 1.1):
        with pytest.raises(ConfigError, match='threshold'):
            hard_candidates(SCORES, threshold)


def test_draws_depend_on_seed_and_ids_alone():
    ids = [f'x{i}' for i in range(200)]
    first = draw_order(ids, 3)
    assert first == draw_order(ids[::-1], 3) and sorted(first) == sorted(ids)
    assert [i for i in first if int(i[1:]) < 100] == draw_order(ids[:100], 3)
    assert draw_order(ids, 4)[:20] != first[:20]
    # about as many of the lower half among the first as of the upper: 5 standard deviations
    assert abs(sum(int(i[1:]) < 100 for i in first[:100]) - 50) < 25


# ---- erasing

def test_erasing_paints_where_any_map_is_high():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    maps = np.array([[[0, .3, .31, 0], [0, 0, 0, 1]], [[.9, 0, 0, 0], [0, 0, 0, 0]]], np.float32)
    got = erase(image, maps, .3, np.array([100.4, 7, 8]))
    where = np.array([[1, 0, 1, 0], [0, 0, 0, 1]], bool)
    assert (got[where] == [100, 7, 8]).all() and (got[~where] == image[~where]).all() and got.dtype == np.uint8
    assert image[0, 0, 0] == 0


@pytest.mark.parametrize(('conversion', 'expected'), [(True, [1, 2, 3]), (False, [3, 2, 1])])
def test_mean_colour_is_rgb(conversion, expected):
    model = ByColour()
    model.data_preprocessor = WeakSegDataPreProcessor(mean=[1, 2, 3], std=[1, 1, 1], bgr_to_rgb=conversion)
    assert mean_colour(model).tolist() == expected
    model.data_preprocessor = WeakSegDataPreProcessor()
    with pytest.raises(ConfigError, match='no mean colour'):
        mean_colour(model)


# ---- the tool

@pytest.fixture(scope='module')
def place(tmp_path_factory, write_config, toy_root):
    """A small CAM classifier of random weights, and a folder of toy scenes with a few odd images among them."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from wsss_mm.registry import MODELS
    root = tmp_path_factory.mktemp('ood')
    config = write_config(root / 'classifier.py', 'cam/classifier_toy.py', f"""
work_dir = '{root}/classifier'
model = dict(backbone=dict(channels=(16, 24, 32), init_cfg=None), head=dict(in_channels=32))
pseudo_labels = dict(dataset=dict(data_root='{toy_root}'))""")
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmseg'), torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        nn.init.normal_(model.head.weight_matrix, std=3)   # scores that differ
    (root / 'classifier').mkdir()
    torch.save(dict(state_dict=model.state_dict()), root / 'classifier/final.pth')
    images = root / 'images'
    shutil.copytree(toy_root / 'JPEGImages', images / 'toy')
    paint(images / 'wide.png', (200, 30, 40), (31, 70))
    paint(images / 'row.png', (90, 30, 40), (1, 40))
    Image.new('L', (20, 20), 90).save(images / 'grey.png')
    return root, config, images, model.eval()


def lines(path):
    return path.read_text().split()


def test_the_tool_scores_and_makes_page_and_lists(place, call_tool, tmp_path):
    root, config, images, model = place
    line = ('collect_ood', config, '--images', images, '--out', tmp_path)
    said = call_tool(*line)
    assert said.code == 0, said.err
    found, _ = list_images(images)
    scores: dict = {}
    for row in (tmp_path / 'scores.csv').read_text().splitlines()[1:]:
        image_id, name, p = row.split(',')
        scores.setdefault(image_id, {})[name] = float(p)
    assert set(scores) == set(found) and len(scores) == 19
    for image_id, path in found.items():   # one by one, in the way of the test
        image = torch.from_numpy(read_candidate(path)).permute(2, 0, 1).float()
        with torch.no_grad():
            p = model((image - 110)[None] / 60)[0].sigmoid().numpy()
        classes = TOY_CLASSES[1:]
        for name, value in scores[image_id].items():
            assert value == pytest.approx(p[classes.index(name)], abs=1e-5)
    # a threshold between the images
    best = {i: max(own.values()) for i, own in scores.items()}
    threshold = round(sorted(best.values())[9], 6) - 1e-6
    hard = {i for i, p in best.items() if p >= threshold}
    assert 5 < len(hard) < 19
    said = call_tool(*line, '--threshold', threshold)
    assert said.code == 0 and set(lines(tmp_path / 'candidates.txt')) == hard and '19 were done before' in said.out
    page = re.search(r'id="data">(.*?)</script>', (tmp_path / 'review.html').read_text())[1]
    shown = {group['name']: [image[0] for image in group['images']] for group in json.loads(page)['classes']}
    assert [i for group in shown.values() for i in group] == lines(tmp_path / 'candidates.txt')
    for name, group in shown.items():
        assert all(scores[i][name] == best[i] for i in group) and group == sorted(group, key=lambda i: -best[i])

    drawn = {}
    for mode in ('random', 'random_hard', 'hard_erasure'):
        for seed in (0, 1):
            said = call_tool(*line, '--mode', mode, '--threshold', threshold, '--count', 5, '--seed', seed)
            assert said.code == 0, said.err
            drawn[mode, seed] = lines(tmp_path / f'{mode}.txt')
            assert len(set(drawn[mode, seed])) == 5
    assert drawn['random', 0] != drawn['random', 1] and drawn['random_hard', 0] != drawn['random_hard', 1]
    assert set(drawn['random_hard', 0]) <= hard and drawn['hard_erasure', 1] == drawn['random_hard', 1]
    dataset = OoDImages(str(tmp_path / 'hard_erasure.txt'), data_prefix=dict(img_path=str(tmp_path / 'erased')))
    assert len(dataset) == 5
    check_erased(place, tmp_path, dataset, scores, threshold)
    said = call_tool(*line, '--mode', 'hard_erasure', '--threshold', threshold, '--count', 5, '--erase-threshold', .6)
    assert said.code == 2 and 'erased images made with other settings; changed: erase_threshold' in said.err

    said = call_tool(*line, '--mode', 'random_hard', '--threshold', threshold, '--count', 18)
    assert said.code == 2 and f'only {len(hard)} of 19 images can be taken' in said.err
    said = call_tool(*line, '--long-side', 40)
    assert said.code == 2 and 'made with other settings; changed: long_side' in said.err


def check_erased(place, out, dataset, scores, threshold):
    """Erased pixels are the mean colour, the others as they were, up to JPEG."""
    from wsss_mm.localization import CAM, MultiScale
    _, _, images, model = place
    localizer = MultiScale(CAM(), scales=(1., .5, 1.5, 2.), align16=False)
    shares = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        image = read_candidate(list_images(images)[0][info['img_id']])
        tags = torch.tensor([[scores[info['img_id']].get(name, 0) >= threshold for name in TOY_CLASSES[1:]]])
        covered = (localizer.class_maps(model, [image], tags)[0].maps > .25).any(0)
        got = read_candidate(info['img_path']).astype(int)
        expected = np.where(covered[..., None], 110, image)
        assert np.abs(got - expected).mean() < 4
        shares.append(covered.mean())
    assert 0 < np.mean(shares) < 1


def test_unreadable_images_are_put_aside(place, call_tool, tmp_path):
    root, config, images, _ = place
    shutil.copytree(images, tmp_path / 'images')
    broken = tmp_path / 'images/toy/train_00000.jpg'
    broken.write_bytes(broken.read_bytes()[:300])
    excluded = tmp_path / 'not.txt'
    excluded.write_text('wide\nrow\nelsewhere\n')
    line = ('collect_ood', config, '--images', tmp_path / 'images', '--out', tmp_path / 'out', '--exclude', excluded,
            '--threshold', .01)
    said = call_tool(*line)
    assert said.code == 1 and '2 images left out' in said.out and 'toy/train_00000:' in said.err
    failures = json.loads((tmp_path / 'out/failures.json').read_text())
    assert list(failures) == ['toy/train_00000'] and len(lines(tmp_path / 'out/candidates.txt')) == 16
    assert (tmp_path / 'out/review.html').is_file()
    said = call_tool(*line, '--mode', 'random', '--count', 16)
    assert said.code == 1 and len(lines(tmp_path / 'out/random.txt')) == 16
    shutil.copy(images / 'toy/train_00000.jpg', broken)   # mended: the same command goes on
    said = call_tool(*line)
    assert said.code == 0 and '16 were done before' in said.out and not (tmp_path / 'out/failures.json').exists()
    assert len(lines(tmp_path / 'out/candidates.txt')) == 17


def test_a_list_of_images_limits_what_is_scored(place, call_tool, tmp_path):
    root, config, images, _ = place
    (tmp_path / 'ids.txt').write_text('wide\ngrey\n')
    line = ('collect_ood', config, '--images', images, '--out', tmp_path / 'out', '--threshold', .01, '--ids')
    assert call_tool(*line, tmp_path / 'ids.txt').code == 0
    assert sorted(lines(tmp_path / 'out/candidates.txt')) == ['grey', 'wide']
    (tmp_path / 'ids.txt').write_text('wide\nnarrow\n')
    said = call_tool(*line, tmp_path / 'ids.txt')
    assert said.code == 2 and '1 of 2 images of the list are not there: narrow' in said.err
    (tmp_path / 'ids.txt').write_text('wide\n')
    said = call_tool(*line, tmp_path / 'ids.txt', '--exclude', tmp_path / 'ids.txt')
    assert said.code == 2 and 'no image is left' in said.err


@pytest.mark.parametrize(('options', 'words'), [
    (['--images', 'none'], 'none: no such folder'),
    (['--checkpoint', 'none.pth'], 'none.pth: no such checkpoint'),
    (['--threshold', '1.5'], '--threshold 1.5'),
    (['--threshold', '1'], 'no image has p(c) >= 1'),
    (['--mode', 'random'], '--mode random needs --count'),
    (['--count', '0'], '--count 0: expected 1 or more'),
    (['--cfg-options', 'model.head.num_classes=5'], 'the weights are of another network'),
    (['--cfg-options', 'pseudo_labels.generator=None', '--mode', 'hard_erasure', '--threshold', '.01'],
     'makes no labels from class maps'),
], ids=lambda v: ' '.join(v) if isinstance(v, list) else '')
def test_what_cannot_work_is_one_message(place, call_tool, tmp_path, monkeypatch, options, words):
    root, config, images, _ = place
    monkeypatch.chdir(tmp_path)
    said = call_tool('collect_ood', config, '--images', images, '--out', tmp_path / 'out', *options)
    assert said.code == 2 and words in said.err and 'Traceback' not in said.err


@pytest.mark.parametrize('config', ['configs/cam/deeplabv2_toy.py', 'configs/box_baselines/box_fill_toy.py'])
def test_a_config_without_a_classifier(place, call_tool, tmp_path, config):
    said = call_tool('collect_ood', config, '--images', place[2], '--out', tmp_path / 'out')
    assert said.code == 2 and 'expected: a config of a CAMClassifier' in said.err
