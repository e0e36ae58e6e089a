"""The HTML file: well formed, alone in the world, and saying what was scored."""

import base64
import io
import json
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation import ConfusionMatrix
from wsss_mm.files import label_png, write_json
from wsss_mm.structures import ClassMaps
from wsss_mm.visualization import Gallery, GalleryImage, ReportSpec, Row, build, build_report, write_report

CLASSES = ['background', 'cat', 'dog']
PALETTE = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """Collects images, table cells and text, and checks that tags are closed in order."""

    def __init__(self, path):
        super().__init__()
        self.open, self.images, self.rows, self.words, self.tags = [], [], [], [], set()
        self.feed(Path(path).read_text())
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ('meta', 'link', 'img'):
            self.open.append(tag)
        if tag == 'img':
            self.images.append(dict(attributes))
        if tag == 'tr':
            self.rows.append([])
        if tag in ('td', 'th'):
            self.rows[-1].append('')
            self.cell_class = dict(attributes).get('class', '')

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ('td', 'th'):
            self.rows[-1][-1] += data + ('!' if 'best' in self.cell_class else '')
        elif 'style' not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return ' '.join(self.words)


def test_written_report(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    spec = ReportSpec(
        title='Boxes & <masks>', splits=['train', 'val'], classes=CLASSES, palette=PALETTE,
        rows=[Row('fill', dict(train=48.25, val=None), paper=dict(train=65.4), per_class=dict(train=dict(cat=30.))),
              Row('ours', dict(train=78.), paper=dict(train=78.7)),
              Row('agreement', dict(train=91., val=85.), comparable=False)],
        stations=[('classifier', 'BAPHead', 'grid 4')], protocol={'seed': '0'}, paper_source='Table 1',
        runs=[(['ours', 'agreement'], {'checkpoint SHA-256': 'ab12'})],
        galleries=[Gallery('worst', [GalleryImage('im "1"', [('Y_crf', picture), ('truth', picture)], 12.3)],
                           'a note')])
    page = Page(write_report(tmp_path / 'sub/report.html', spec))
    assert page.rows == [['labels', 'train mIoU', 'paper’s', 'val mIoU'], ['fill', '48.2', '65.4', '–'],
                         ['ours', '78.0!', '78.7', '–'], ['agreement', '91.0*', '–', '85.0*']]
    for words in ('Boxes & <masks>', 'BAPHead', 'ab12', 'Table 1', 'not be compared', 'a note', 'mIoU 12.3'):
        assert words in page.text
    assert [i['alt'] for i in page.images] == ['im "1": Y_crf', 'im "1": truth']
    assert (page.images[0]['width'], page.images[0]['height']) == ('40', '30')


@pytest.fixture
def cfg(tmp_path):
    """Eight images; Y_crf is worse the higher the image's number."""
    rng = np.random.default_rng(3)
    data, work = tmp_path / 'data', tmp_path / 'work'
    for folder in ('data/JPEGImages', 'data/SegmentationClass', 'data/Annotations', 'work/Y_crf', 'work/Y_ret',
                   'work/maps'):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(8):
        name = f'im{i}'
        truth = np.zeros((20, 30), np.uint8)
        truth[5:15, 5:20] = 2
        y_crf, y_ret = truth.copy(), truth.copy()
        y_crf[5:15, 5:5 + i] = y_ret[5:15, 5:6 + i] = 0
        Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(data / f'JPEGImages/{name}.jpg')
        for folder, label in ((data / 'SegmentationClass', truth), (work / 'Y_crf', y_crf), (work / 'Y_ret', y_ret)):
            (folder / f'{name}.png').write_bytes(label_png(label, PALETTE.tolist()))
        (data / f'Annotations/{name}.xml').write_text(
            '<annotation><size><width>30</width><height>20</height></size><object><name>dog</name><bndbox><xmin>5</xmin>'
            '<ymin>5</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object></annotation>')
        maps = ClassMaps(name, np.array([2]), (truth == 2)[None].astype(np.float32), 20, 30,
                         background=(truth == 0).astype(np.float32))
        if i < 7:
            (work / f'maps/{name}.npz').write_bytes(maps.to_bytes())
    (data / 'train.txt').write_text('\n'.join(f'im{i}' for i in range(8)))
    (data / 'val.txt').write_text('elsewhere\n')
    write_json(work / 'run.json', dict(hash='cafe', settings=dict(checkpoint='d00d'), complete=True))
    return dict(
        title='t', out_dir=str(tmp_path / 'out'), data_root=str(data), classes=CLASSES,
        splits=dict(train='train.txt', val='val.txt'),
        rows=[dict(name='Y_crf', labels=f'{work}/Y_crf', maps=f'{work}/maps', paper=78.7),
              dict(name='both', labels=f'{work}/Y_crf', agree_with=f'{work}/Y_ret'),
              dict(name='later', labels=f'{work}/nothing')],
        gallery=dict(row='Y_crf', split='train', worst=2, best=1, maps=f'{work}/maps', y_crf=f'{work}/Y_crf',
                     y_ret=f'{work}/Y_ret'), protocol=dict(seed=0), paper_source='Table 1, PASCAL VOC 2012')


def decoded(image):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image['src'].split(',')[1]))))


def test_built_report(cfg, capsys):
    path = build_report(cfg)
    page = Page(path)
    scores = json.loads((path.parent / 'scores.json').read_text())
    matrix = ConfusionMatrix(3)
    for i in range(8):
        matrix.update(*(np.array(Image.open(f'{d}/im{i}.png')) for d in (
            cfg['rows'][0]['labels'], f'{cfg["data_root"]}/SegmentationClass')))
    expected = f'{100 * matrix.miou():.1f}'
    assert scores['Y_crf']['train']['miou'] == pytest.approx(100 * matrix.miou()) and scores['Y_crf']['val'] is None
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows['Y_crf'][:3] == [f'{expected}!', '78.7', '–'] and rows['Y_crf'][-2:] == ['100.0', '100.0']
    both = scores['both']['train']
    assert rows['both'][0] == f'{both["miou"]:.1f}*' and both['ignored_share'] == pytest.approx(100 * 80 / 4800)
    assert set(rows['later']) == {'–'}
    assert 'no labels in' in page.text and 'd00d' in page.text
    # the text table: the paper's figure cannot be taken for one of these images, nor "both" for a row to compare
    table = [[cell.strip() for cell in line.strip('|').split('|')] for line in capsys.readouterr().out.splitlines()]
    for line in (['mIoU, %', 'train', "paper's train", 'val'], ['Y_crf', expected, '78.7', '–'],
                 ['both', f'{both["miou"]:.1f}*', '–', '–'], ['later', '–', '–', '–'],
                 ["paper's: printed in Table 1, PASCAL VOC 2012; not measured here"],
                 ['* leaves pixels out: not comparable']):
        assert line in table
    # worst first, then the best; u_0 and u_c are missing for the worst image
    assert re.findall(r'(im\d) *mIoU', page.text) == ['im7', 'im6', 'im0']
    assert 'Not saved: u_0 of 1 images, class maps of 1 images.' in page.text
    assert [i['alt'] for i in page.images if i['alt'].startswith('im6')] == [
        f'im6: {name}' for name in ('image', 'u_0, background', 'u_c, dog', 'Y_crf', 'Y_ret', 'unreliable, 1.7 %',
                                    'truth')]
    assert {decoded(i).shape for i in page.images} == {(160, 240, 3)}
    shown = {i['alt']: decoded(i).astype(int) for i in page.images}
    marked = shown['im6: unreliable, 1.7 %'][44:116, 90:94].reshape(-1, 3)   # column 11 of the original
    assert (marked[:, 0] - marked[:, 1] > 100).mean() > .3


def test_the_scored_labels_are_always_shown(cfg):
    page = Page(build_report({**cfg, 'gallery': dict(row='both', worst=1, best=0), 'box_dir': None}))
    assert [i['alt'] for i in page.images] == ['im7: image', 'im7: both (scored)', 'im7: truth']
    assert 'Not saved' not in page.text and 'unreliable' not in page.text
    assert page.rows[0] == ['labels', 'train mIoU', 'paper’s', 'val mIoU']   # no figure that needs boxes


def test_figures_are_embedded_as_they_are(cfg, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (300, 1280, 3)).astype(np.uint8)).save(tmp_path / 'plot.png')
    Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(tmp_path / 'photo.jpg')
    figures = [dict(title='mIoU <per> step', path=str(tmp_path / 'plot.png'), caption='60 images & "more"'),
               dict(title='photo', path=tmp_path / 'photo.jpg')]
    page = Page(build_report({**cfg, 'figures': figures, 'gallery': None}))
    plot, photo = page.images
    assert base64.b64decode(plot['src'].removeprefix('data:image/png;base64,')) == (tmp_path / 'plot.png').read_bytes()
    assert photo['src'].startswith('data:image/jpeg;base64,') and decoded(photo).shape == (20, 30, 3)
    assert plot['alt'] == 'mIoU <per> step: 60 images & "more"' and photo['alt'] == 'photo'
    assert (plot['width'], plot['height']) == ('640', '150') and (photo['width'], photo['height']) == ('30', '20')
    assert 'mIoU <per> step' in page.text and '60 images & "more"' in page.text


def test_a_figure_that_cannot_be_shown(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(build, 'evaluate_folder', lambda *a, **k: pytest.fail('scored before the figures were read'))
    (tmp_path / 'text.png').write_text('no picture')
    Image.new('RGB', (4, 4)).save(tmp_path / 'drawn.gif')
    for name, message in (('none.png', "the figure 'plot' of the report is not there"), ('text.png', 'not readable'),
                          ('drawn.gif', 'its format is gif'), ('', 'not readable')):
        with pytest.raises(DataError, match=message):
            build_report({**cfg, 'figures': [dict(title='plot', path=str(tmp_path / name))]})


def test_nothing_is_loaded_from_outside(cfg):
    path = build_report(cfg)
    text = path.read_text()
    assert 'http' not in text.replace('http-equiv', '') and '//' not in re.sub(r'base64,[^"]*', '', text)
    page = Page(path)
    assert 'script' not in page.tags and all(i['src'].startswith('data:') for i in page.images)
    assert "default-src 'none'" in text


def test_scores_are_kept_until_a_file_changes(cfg, monkeypatch):
    calls = []
    real = build.evaluate_folder
    monkeypatch.setattr(build, 'evaluate_folder', lambda *a, **k: calls.append(a) or real(*a, **k))
    first = build_report(cfg).parent / 'scores.json'
    before = first.read_text()
    assert len(calls) == 2
    assert (build_report(cfg).parent / 'scores.json').read_text() == before and len(calls) == 2
    label = Path(cfg['rows'][0]['labels']) / 'im0.png'
    label.write_bytes(label_png(np.ones((20, 30), np.uint8), PALETTE.tolist()))
    build_report(cfg)
    assert len(calls) == 4 and first.read_text() != before


@pytest.mark.parametrize('change, message', [
    (dict(tilte='x'), r"unknown keys \['tilte'\]"),
    (dict(rows=[dict(name='a')]), r"rows\[0\] lacks \['labels'\]"),
    (dict(rows=[]), "lacks"),
    (dict(rows=[dict(name='a', labels='x')] * 2), 'one name'),
    (dict(gallery=dict(row='nobody')), "row 'nobody'"),
    (dict(figures=[dict(title='a', file='b.png')]), r"figures\[0\] has the unknown keys \['file'\]"),
    (dict(figures=[dict(title='a')]), r"figures\[0\] lacks \['path'\]"),
    (dict(stations=[('classifier', 'BAP')]), r'stations\[0\]'),
])
def test_config_errors(cfg, change, message):
    with pytest.raises(ConfigError, match=message):
        build_report({**cfg, **change})


def test_no_labels_at_all(cfg):
    with pytest.raises(DataError, match='no row has labels'):
        build_report({**cfg, 'rows': [dict(name='later', labels='nowhere')], 'gallery': None})


def test_command_line(cfg, tmp_path, monkeypatch, capsys):
    def call(text):
        (tmp_path / 'config.py').write_text(text)
        monkeypatch.setattr(sys, 'argv', ['report.py', str(tmp_path / 'config.py'), '--out', str(tmp_path / 'other')])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools/report.py'), run_name='__main__')
        return end.value.code

    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    assert call(f'report = {cfg!r}') == 0 and (tmp_path / 'other/report.html').is_file()
    assert call('model = dict()') == 2 and 'no report section' in capsys.readouterr().err
