"""The curve over the background threshold: as a picture, in a report, and from the command line."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from wsss_mm.errors import ConfigError
from wsss_mm.evaluation import ThresholdCurve, evaluate_class_maps
from wsss_mm.pseudo_labels.auto_threshold import colour_threshold
from wsss_mm.structures import ClassMaps
from wsss_mm.visualization import build_report
from wsss_mm.visualization.curve import draw_curve, save_curve

CLASSES = ['background', 'cat', 'dog']
IDS = ['im0', 'im1', 'im2', 'im3']
MIOU_COLOUR = (0, 103, 165)


@pytest.fixture
def tree(tmp_path):
    """Four images, a blot of one class each; the maps are the blots blurred."""
    rng = np.random.default_rng(0)
    for folder in ('JPEGImages', 'SegmentationClass', 'work/maps', 'work/labels'):
        (tmp_path / folder).mkdir(parents=True)
    y, x = np.mgrid[:24, :32]
    for i, image_id in enumerate(IDS):
        away = np.hypot(y - 12, x - 12 - 2 * i)
        truth = np.where(away < 7, i % 2 + 1, 0).astype(np.uint8)
        maps = ClassMaps(image_id, np.array([i % 2 + 1]), np.exp(-(away / 8) ** 2)[None], 24, 32)
        (tmp_path / f'work/maps/{image_id}.npz').write_bytes(maps.to_bytes())
        Image.fromarray(truth).save(tmp_path / f'SegmentationClass/{image_id}.png')
        Image.fromarray((maps.maps[0] > .2).astype(np.uint8) * truth.max()).save(
            tmp_path / f'work/labels/{image_id}.png')
        colours = np.where(truth[..., None] > 0, 170, 80) + rng.integers(-30, 30, (24, 32, 3))
        Image.fromarray(colours.astype(np.uint8)).save(tmp_path / f'JPEGImages/{image_id}.png')
    (tmp_path / 'ids.txt').write_text('\n'.join(IDS))
    (tmp_path / 'classes.txt').write_text('\n'.join(CLASSES))
    return tmp_path


def line_rows(picture):
    """For each column where the mIoU is drawn, the middle of its line."""
    found = (np.abs(picture.astype(int) - MIOU_COLOUR).sum(-1) < 20)
    found[:60] = False   # its name, above the plot
    return {x: np.flatnonzero(column).mean() for x, column in enumerate(found.T) if column.any()}


def test_the_line_is_where_the_scores_are():
    truth = np.zeros((10, 10), np.uint8)
    truth[:5] = 1
    maps = np.where(truth, .8, .3)[None]
    found = ThresholdCurve(2).update(maps, [1], truth).to_json(['background', 'cat'])
    rows = line_rows(draw_curve(found, 'title', {'best': .3}))
    xs, ys = np.array([*rows]), np.array([*rows.values()])
    right = ys[(xs > xs.min() + .4 * np.ptp(xs)) & (xs < xs.min() + .7 * np.ptp(xs))]
    left = ys[xs < xs.min() + .2 * np.ptp(xs)]
    # 100 % between the two scores, 25 % below both; up is less
    assert np.ptp(right) < 1 and np.ptp(left) < 1
    bottom = right.mean() + (left.mean() - right.mean()) / .75
    assert bottom == pytest.approx(760 - 88, abs=3) and right.mean() == pytest.approx(80, abs=3)


def test_gaps_and_single_thresholds(tmp_path):
    empty = ThresholdCurve(2, [.5]).to_json(['background', 'cat'])
    save_curve(tmp_path / 'sub/empty.png', empty, 'nothing')
    assert not line_rows(np.asarray(Image.open(tmp_path / 'sub/empty.png').convert('RGB')))


def test_in_a_report(tree):
    row = dict(name='CAM', labels=str(tree / 'work' / 'labels'), maps=str(tree / 'work' / 'maps'), curve=True)
    cfg = dict(title='t', out_dir=str(tree / 'out'), data_root=str(tree), image_dir='JPEGImages', box_dir=None,
               classes=CLASSES, splits=dict(train='ids.txt'), rows=[row, {**row, 'name': 'without', 'curve': False}])
    text = build_report(cfg).read_text()
    curve = evaluate_class_maps(tree / 'work/maps', tree / 'SegmentationClass', IDS, CLASSES)
    best = curve.best()
    assert text.count('class="curves"') == 1 and len(re.findall('data:image/png;base64', text)) == 1
    assert f'is {curve.thresholds[best]:.2f}, mIoU {100 * curve.scores()["miou"][best]:.1f}.' in text
    picture = re.search(r'data:image/png;base64,([^"]+)', text)[1]
    assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (1280, 760)
    scores = json.loads((tree / 'out/scores.json').read_text())
    assert scores['CAM']['curve']['thresholds'] == curve.thresholds.tolist() and 'curve' not in scores['without']
    with pytest.raises(ConfigError, match=r'rows\[0\] has a curve, but no maps'):
        build_report({**cfg, 'rows': [{**row, 'maps': None}]})
    (tree / 'work/maps/im3.npz').unlink()
    assert 'class="curves"' not in build_report(cfg).read_text()


def test_from_the_command_line(tree, call_tool, monkeypatch):
    monkeypatch.chdir(tree)
    given = ('--truth', 'SegmentationClass', '--ids', 'ids.txt', '--classes', 'classes.txt')
    done = call_tool('evaluate', '--maps', 'work/maps', *given, '--images', 'JPEGImages', '--curve', 'curve.png',
                     '--out', 'curve.json')
    assert done.code == 0, done.err
    curve = evaluate_class_maps('work/maps', 'SegmentationClass', IDS, CLASSES)
    scores, rows = curve.scores(), [[c.strip() for c in line.split('|')[1:-1]] for line in done.out.splitlines()]
    by_mark = {name: row for row in rows if len(row) == 8 for name in row[-1].split(', ') if name}
    assert {'best', 'mean', 'otsu', 'colour'} <= set(by_mark)
    best = curve.best()
    assert by_mark['best'][:3] == [f'{curve.thresholds[best]:.2f}', f'{100 * scores["miou"][best]:.1f}',
                                   f'{100 * scores["precision"][best]:.1f}'] and by_mark['best'][6] == '0.0'
    found = json.loads((tree / 'curve.json').read_text())
    chosen = colour_threshold('work/maps', 'JPEGImages', IDS)
    assert found['chosen_without_truth']['colour'] == chosen and found['best'] == curve.thresholds[best]
    assert found['miou'] == (100 * scores['miou']).tolist() and Image.open('curve.png').size == (1280, 760)
    assert float(by_mark['colour'][0]) == pytest.approx(chosen, abs=.006)


@pytest.mark.parametrize('args, message', [
    ((), 'nothing to score is given'), (('labels', '--maps', 'maps'), 'labels and maps are given'),
    (('labels', '--curve', 'c.png'), '--curve is given, but no maps'),
    (('--maps', 'maps', '--boxes', 'boxes'), '--boxes is given, but no labels'),
    (('--maps', 'nowhere'), '4 of 4 class maps are missing')])
def test_command_lines_that_make_no_sense(tree, call_tool, monkeypatch, args, message):
    monkeypatch.chdir(tree)
    done = call_tool('evaluate', *args, '--truth', 'SegmentationClass', '--ids', 'ids.txt', '--classes', 'classes.txt')
    assert done.code == 2 and message in done.err and 'Traceback' not in done.err
