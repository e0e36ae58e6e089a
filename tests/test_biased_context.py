"""GAIN's experiment on biased data: the profile's law, the scores by hand, the benchmark's trainings and tables."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wsss_mm.datasets.toy_voc import CLASSES, PROFILES, content, scene
from wsss_mm.datasets.toy_voc.writer import _arguments
from wsss_mm.engine import stages

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def benchmark():
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    spec = importlib.util.spec_from_file_location('gain_biased_context', ROOT / 'benchmarks/gain_biased_context.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / 'benchmarks'))
    return module


# ---------------------------------------------------------------- the data

def test_contexts_come_without_their_class_more_often_than_in_tags():
    """P(water or rail | neither class) is the profile's one difference in what is drawn."""
    for profile, share in (('biased', .2), ('tags', .05)):
        found = [content(profile, 3, 'train', i) for i in range(6000)]
        neither = [ground for names, ground in found if not {'boat', 'train'} & set(names)]
        grounds = Counter(neither)
        assert (grounds['water'] + grounds['rail']) / len(neither) == pytest.approx(share, abs=.02)
        assert grounds['water'] == pytest.approx(grounds['rail'], rel=.35)
        for name, context in PROFILES[profile].class_grounds.items():
            own = [ground == context for names, ground in found if name in names]
            assert np.mean(own) == pytest.approx(.92, abs=.02)
    assert {k: v for k, v in vars(PROFILES['biased']).items() if k not in ('name', 'leak_prob', 'counts')} == \
        {k: v for k, v in vars(PROFILES['tags']).items() if k not in ('name', 'leak_prob', 'counts')}


def test_test_decor_shows_objects_and_contexts_apart():
    found = [content('biased', 0, 'test_decor', i) for i in range(PROFILES['biased'].counts['test_decor'])]
    for name, context in PROFILES['biased'].class_grounds.items():
        a = sum(name in names and ground != context for names, ground in found)
        b = sum(name not in names and ground == context for names, ground in found)
        assert min(a, b) >= 50                           # as many as the paper has
        shares = [np.mean([ground == context for names, ground in found if (name in names) == there])
                  for there in (True, False)]
        assert abs(shares[0] - shares[1]) < .1


def test_content_is_that_of_the_scene():
    for profile, split in (('biased', 'train'), ('biased', 'test_decor'), ('tags', 'ood'), ('boxes', 'val')):
        for i in range(4):
            names, ground = content(profile, 1, split, i)
            drawn = scene(profile, 1, split, i)
            assert ground == drawn.ground and {o.name for o in drawn.objects} <= set(names) <= set(CLASSES)
            assert drawn.context.any() == (ground in ('water', 'rail'))


def test_numbers_of_images():
    assert _arguments('biased', 0, None)['counts'] == dict(
        train=400, val=240, test=120, test_decor=480, ood=90, ood_test=60)
    assert _arguments('biased', 0, dict(val=3))['counts']['val'] == 3
    assert _arguments('tags', 0, None)['counts']['val'] == 120


# ---------------------------------------------------------------- the scores

def test_recognition_by_hand(benchmark):
    logits = np.array([2., -1., .5, 0., -3., .25, 9., -9.])
    present = np.array([1, 1, 1, 0, 0, 0, 1, 0], bool)
    context = np.array([0, 0, 0, 1, 1, 1, 1, 0], bool)   # the last two: object in its context, and neither
    found = benchmark.recognition(logits, present, context)
    # A: 2, -1, .5; B: 0 (not above 0: rejected), -3, .25
    assert found['without_context'] == pytest.approx(200 / 3) == found['context_alone']
    assert found['overall'] == pytest.approx(200 / 3)
    assert found['auc'] == pytest.approx(100 * (3 + 1 + 3) / 9)
    always_no = benchmark.recognition(np.full(8, -1.), present, context)
    assert always_no == dict(without_context=0, context_alone=100, overall=50, auc=50)


def test_inside_by_hand(benchmark):
    labels = np.array([[[2, 2, 0, 255], [2, 1, 0, 255]]] * 3)
    maps = np.stack([np.array([[4., 1, 2, 50], [-7, 0, 1, 50]]), np.full((2, 4), -1.), np.ones((2, 4))])
    found = benchmark.inside(maps, labels, 2)
    # first: 5 of 8 inside; half of 4 marks {4, 2}, object {4, 1, -7}: 1 of 4. Empty map: 0. Even map: the area, 3 of 6.
    assert found['mass'] == pytest.approx(100 * (5 / 8 + 0 + 3 / 6) / 3)
    assert found['iou'] == pytest.approx(100 * (1 / 4 + 0 + 3 / 6) / 3)
    assert found['area'] == pytest.approx(50)
    mirrored = benchmark.inside(maps[..., ::-1], labels[..., ::-1], 2)
    assert mirrored == pytest.approx(found)
    half = np.repeat(np.repeat(1000 * maps, 60, 1), 60, 2).astype(np.float16)   # whose own sum would overflow
    assert benchmark.inside(half, labels.repeat(60, 1).repeat(60, 2), 2) == pytest.approx(found)


# ---------------------------------------------------------------- trainings and table

@pytest.mark.parametrize('name', ['plain', 'GAIN', 'GAIN_ext, 36 masks'])
def test_options_change_what_they_name(benchmark, name):
    method = benchmark.METHODS[name]
    cfg = stages.load_config(ROOT / 'configs/gain' / method.config)
    before = stages.training_settings(cfg)
    pairs = (option.split('=') for option in benchmark.training_options(method, 4, None))
    cfg.merge_from_dict({key: int(value) for key, value in pairs})
    assert cfg.randomness.seed == 4
    assert method.masks is None or cfg.train_dataloader.dataset.mask_count == 36
    changed = {key for key, value in stages.training_settings(cfg).items() if before.get(key) != value}
    assert changed == ({'randomness'} if method.masks is None else {'randomness', 'train_dataloader'})
    pairs = (option.split('=') for option in benchmark.training_options(method, 4, 40))
    cfg.merge_from_dict({key: int(value) for key, value in pairs})
    assert [s.end for s in cfg.param_scheduler] == [8, 40] and cfg.param_scheduler[1].begin == 8
    assert all(o.begin < 40 for o in cfg.model.get('objectives', []))
    assert cfg.train_cfg.max_iters == 40


def test_table_counts_the_seeds_ahead(benchmark):
    def scores(a, auc):
        one = dict(masks=0, val=90., val_all=91., without_context=a, context_alone=60., overall=(a + 60) / 2, auc=auc,
                   mass=40., iou=30., area=20., images=[70, 80, 50])
        return dict(boat=one, train=one)
    results = {'plain': {0: scores(10., 20.), 1: scores(30., 40.), 2: scores(20., 30.)},
               'GAIN': {0: scores(15., 10.), 1: scores(20., 60.), 2: scores(50., 31.)}, }
    text = benchmark.table(results)
    boat = text.split('### train')[0]
    assert '| plain | 0 (0 … 0) | 90 (90 … 90) | 20 (10 … 30) |' in boat and '83 / 42 / 30 / 36' in boat
    assert '| GAIN | +0 (0) | +5 (2) | +0 (0) | +1 (2) | +0 (0) | +0 (0) |' in boat
    assert 'paper' not in text.split('### train')[1]
    results['GAIN'].pop(1)
    assert 'over seeds 0, 2;' in benchmark.table(results)
