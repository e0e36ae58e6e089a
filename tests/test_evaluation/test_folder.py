"""Scoring folders: agreement with the matrix, refusals, the command line."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation import ConfusionMatrix, Scores, evaluate_folder, read_ids, resolve_classes
from wsss_mm.files import label_png, write_json

CLASSES = ('background', 'cat', 'dog')
PALETTE = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
ROOT = Path(__file__).resolve().parents[2]


def save(folder, image_id, label):
    folder.mkdir(exist_ok=True)
    (folder / f'{image_id}.png').write_bytes(label_png(label, PALETTE))


@pytest.fixture
def tree(tmp_path):
    """Forty small images with truth, two label folders and boxes of class dog."""
    rng = np.random.default_rng(5)
    (tmp_path / 'Annotations').mkdir()
    for i in range(40):
        truth = np.zeros((12, 10 + i % 3), np.uint8)
        truth[3:9, 2:8], truth[3, 2:8] = 2, 255
        labels = np.where(rng.random(truth.shape) < .8, np.minimum(truth, 2), 1).astype(np.uint8)
        other = np.where(rng.random(truth.shape) < .8, labels, 0).astype(np.uint8)
        for name, label in (('truth', truth), ('labels', labels), ('other', other)):
            save(tmp_path / name, f'im{i}', label)
        (tmp_path / 'Annotations' / f'im{i}.xml').write_text(
            f'<annotation><size><width>{truth.shape[1]}</width><height>12</height></size><object><name>dog</name><bndbox>'
            '<xmin>3</xmin><ymin>4</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object></annotation>')
    (tmp_path / 'ids.txt').write_text('\n'.join(f'im{i}' for i in range(40)))
    return tmp_path


def load(folder, image_id):
    return np.array(Image.open(folder / f'{image_id}.png'))


def test_scores_equal_one_matrix_over_all_pixels(tree):
    ids = read_ids(tree / 'ids.txt')
    steps = []
    scores = evaluate_folder(tree / 'labels', tree / 'truth', ids, CLASSES, box_dir=tree / 'Annotations',
                             progress=lambda: steps.append(1))
    truth = np.concatenate([load(tree / 'truth', i).ravel() for i in ids])
    labels = np.concatenate([load(tree / 'labels', i).ravel() for i in ids])
    matrix = ConfusionMatrix(3).update(labels, truth)
    assert scores.miou == pytest.approx(100 * matrix.miou()) and scores.images == len(steps) == 40
    assert list(scores.iou.values()) == pytest.approx(100 * matrix.iou())
    one = ConfusionMatrix(3).update(load(tree / 'labels', 'im7'), load(tree / 'truth', 'im7'))
    assert scores.per_image['im7'] == pytest.approx(100 * one.miou())
    fill = np.mean([(load(tree / 'labels', i)[3:9, 2:8] == 2).mean() for i in ids])
    assert scores.filling_rate == pytest.approx(100 * fill)
    assert scores.truth_filling_rate == 100   # the ignored row is no evidence either way
    assert scores.comparable and scores.protocol['files_not_scored'] == 0


def test_agreement_scores_only_where_both_agree(tree):
    ids = [f'im{i}' for i in range(6)]
    scores = evaluate_folder(tree / 'labels', tree / 'truth', ids, CLASSES, agree_with=tree / 'other')
    truth, labels, other = (np.concatenate([load(tree / d, i).ravel() for i in ids])
                            for d in ('truth', 'labels', 'other'))
    agree = labels == other
    assert scores.miou == pytest.approx(100 * ConfusionMatrix(3).update(labels[agree], truth[agree]).miou())
    assert scores.ignored_share == pytest.approx(100 * (~agree & (truth != 255)).sum() / (truth != 255).sum())
    assert not scores.comparable and 'NOT comparable' in scores.table()
    assert scores.miou_ignored_as_missed < scores.miou
    assert scores.protocol['files_not_scored'] == 34


def test_json_round_trip_and_table(tree):
    scores = evaluate_folder(tree / 'labels', tree / 'truth', ['im0', 'im1'], (*CLASSES, 'cow'))
    text = json.dumps(scores.to_json(), allow_nan=False)   # an absent class is null, never NaN
    assert Scores.from_json(json.loads(text)) == scores and scores.iou['cow'] is None
    rows = [line for line in scores.table().splitlines() if line.startswith('|')]
    assert len({line.count('|') for line in rows}) == 1 and len({len(line) for line in rows}) == 1
    assert f'{scores.miou:.1f}' in rows[-1] and '–' in rows[-2]


def test_the_protocol_of_the_labels_run_is_kept(tree):
    write_json(tree / 'run.json', dict(
        hash='abc', settings=dict(checkpoint='f' * 64), complete=True, config_file='x.py', versions=dict(torch='2.13'),
        config=dict(dataset=dict(ann_file='train.txt'), generator=dict(
            type='wsss_mm.BANALabels', rel_threshold=.98, refiner=dict(type='wsss_mm.DenseCRF', iterations=10)))))
    run = evaluate_folder(tree / 'labels', tree / 'truth', ['im0'], CLASSES).protocol['run']
    assert run['checkpoint SHA-256'] == 'f' * 64 and run['CRF'] == 'DenseCRF(iterations=10)'
    assert run['generator'] == 'BANALabels(refiner=wsss_mm.DenseCRF, rel_threshold=0.98)' and 'seed' not in run


def test_missing_files_are_named_before_anything_is_scored(tree):
    (tree / 'labels' / 'im3.png').unlink()
    steps = []
    with pytest.raises(DataError, match=r'1 of 40 label maps are missing: im3\.png'):
        evaluate_folder(tree / 'labels', tree / 'truth', read_ids(tree / 'ids.txt'), CLASSES,
                        progress=lambda: steps.append(1))
    assert not steps
    with pytest.raises(DataError, match='no such folder of ground-truth'):
        evaluate_folder(tree / 'labels', tree / 'nowhere', ['im0'], CLASSES)
    with pytest.raises(DataError, match='no image ids'):
        evaluate_folder(tree / 'labels', tree / 'truth', [], CLASSES)


def test_bad_label_maps_are_named(tree):
    def refused(match):
        with pytest.raises(DataError, match=match) as caught:
            evaluate_folder(tree / 'labels', tree / 'truth', ['im0'], CLASSES)
        assert str(caught.value.file).endswith('im0.png')

    save(tree / 'labels', 'im0', np.zeros((12, 11), np.uint8))
    refused('size is 11 x 12')
    save(tree / 'labels', 'im0', np.full((12, 10), 9, np.uint8))
    refused(r'class ids \[9\]')
    Image.new('RGB', (10, 12)).save(tree / 'labels/im0.png')
    refused('RGB')
    (tree / 'labels/im0.png').write_bytes((tree / 'labels/im1.png').read_bytes()[:60])
    refused('not readable')


def test_class_sets(tmp_path):
    assert resolve_classes('voc').names[20] == 'tvmonitor' and resolve_classes('toy').names[1] == 'cat'
    assert resolve_classes('coco').names[80] == 'toothbrush'
    (tmp_path / 'names.txt').write_text('background\nleaf\n\nfruit\n')
    own = resolve_classes(tmp_path / 'names.txt')
    assert own.names == ('background', 'leaf', 'fruit')
    np.testing.assert_array_equal(own.palette, resolve_classes('voc').palette[:3])
    with pytest.raises(ConfigError, match='neither'):
        resolve_classes('vocc')
    (tmp_path / 'names.txt').write_text('background\nleaf\nleaf\n')
    with pytest.raises(DataError, match='3 names, 2'):
        resolve_classes(tmp_path / 'names.txt')


def test_command_line(tree, monkeypatch, capsys):
    def call():
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools/evaluate.py'), run_name='__main__')
        return end.value.code

    (tree / 'names.txt').write_text('\n'.join(CLASSES))
    monkeypatch.chdir(tree)
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.setattr(sys, 'argv', ['evaluate.py', 'labels', '--truth', 'truth', '--ids', 'ids.txt', '--classes',
                                      'names.txt', '--out', 'out/scores.json'])
    assert call() == 0
    written = json.loads((tree / 'out/scores.json').read_text())
    assert f'{written["miou"]:.1f}' in capsys.readouterr().out and written['protocol']['ids'] == ['ids.txt']
    (tree / 'labels/im5.png').unlink()
    assert call() == 2
    assert 'im5.png' in capsys.readouterr().err
