"""The check of one's own data: every kind of finding, duplicates, leaks, counts, processes, a config, the page."""

import io
import json
import re

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from wsss_mm.datasets.check import check_data, layouts_of
from wsss_mm.datasets.check.duplicates import groups, near_twins, picture_hash, same_bytes
from wsss_mm.datasets.check.from_config import config_layout
from wsss_mm.errors import ConfigError, DataError

from .conftest import write_ids, write_png, write_xml

SIZE = (60, 80)


def scene(seed, size=SIZE):
    """Smooth random blobs: a picture that tells something on a coarse grid, as photographs do."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


class Own:
    """Five images: tags, boxes and a mask; tags and boxes; tags; a mask alone; an image of val with all."""

    def __init__(self, root):
        self.root = root
        for folder in ('JPEGImages', 'Annotations', 'SegmentationClass'):
            (root / folder).mkdir(parents=True)
        for seed, name in enumerate(('all.jpg', 'boxed.png', 'a.b c.jpg', 'masked.jpeg', 'scored.jpg')):
            scene(seed).save(root / 'JPEGImages' / name)
        (root / 'dataset.json').write_text(json.dumps(dict(classes=['cup', 'red pen'])))
        self.tags(dict(all=['cup', 'red pen'], boxed=['cup'], **{'a.b c': ['red pen']}, scored=['cup', 'red pen']))
        self.xml('all', ('cup', 1, 1, 40, 30), ('red pen', 41, 1, 80, 20), ('cup', 10, 31, 50, 60))
        self.xml('boxed', ('cup', 5, 5, 20, 20))
        self.xml('scored', ('cup', 1, 1, 10, 10), ('red pen', 40, 1, 60, 10))
        self.mask('all', ((0, 0), 1), ((0, 1), 2), ((5, 5), 255))
        self.mask('masked', (slice(0, 30), 2))
        self.mask('scored', ((0, 0), 1), ((0, 1), 2))
        self.list('train', 'all', 'boxed', 'a.b c', 'masked')
        self.list('val', 'scored')

    def list(self, name, *ids):
        write_ids(self.root / f'ImageSets/Segmentation/{name}.txt', ids)

    def tags(self, tags):
        (self.root / 'image_tags.json').write_text(json.dumps(tags))

    def xml(self, name, *objects, size=SIZE):
        write_xml(self.root / f'Annotations/{name}.xml', size, objects)

    def mask(self, name, *values):
        labels = np.zeros(SIZE)
        for place, value in values:
            labels[place] = value
        write_png(self.root / f'SegmentationClass/{name}.png', labels)

    def check(self, **kwargs):
        layout, = layouts_of(self.root)
        return check_data(layout, **kwargs)

    def found(self):
        """Texts by kind."""
        return {kind: [p.text for p in problems] for kind, problems in self.check().problems.items()}


@pytest.fixture
def own(tmp_path):
    return Own(tmp_path / 'my data')


def test_counts(own):
    seen = []
    report = own.check(progress=lambda *step: seen.append(step))
    assert seen == [(i, 5) for i in range(1, 6)]
    assert report.problems == {} and report.errors == 0 and report.layout.title == 'own data'
    train, val = report.splits['train'], report.splits['val']
    assert dict(train.labels) == dict(tags=3, boxes=2, masks=2) and dict(val.labels) == dict(tags=1, boxes=1, masks=1)
    assert train.of_class.tolist() == [0, 2, 3]     # the pen: a tag, tags with all labels, a mask
    assert train.objects.tolist() == [0, 3, 1] and val.objects.tolist() == [0, 1, 1]
    assert train.pixels.tolist() == [2 * 4800 - 3 - 2400, 1, 2401] and train.ignored == 1
    assert report.size_summary() == dict(
        height=[60, 60., 60], width=[80, 80., 80], different=1, smallest=dict(image='all', width=80, height=60),
        largest=dict(image='all', width=80, height=60))
    assert sorted(report.examples) == ['cup', 'red pen']
    assert {job.image_id for job in report.examples['red pen']} == {'all', 'a.b c', 'masked', 'scored'}
    assert '| train |      4 |    3 |     2 |     2 |        0 |' in report.table()
    assert '| cup          |   2/3 | 1/1 |' in report.table()


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize('spoil, kind, found', [
    (lambda own: cut(own.root / 'JPEGImages/all.jpg'), 'image', 'all.jpg: not readable as an image'),
    (lambda own: (own.root / 'JPEGImages/boxed.png').unlink(), 'image', 'boxed.jpg: no such image'),
    (lambda own: (own.root / 'SegmentationClass/masked.png').write_bytes(b'no'), 'mask', 'not readable as a label map'),
    (lambda own: own.mask('masked', ((0, 0), 3)), 'mask', r'holds the ids \[3\] \(expected 0 … 2 and 255\)'),
    (lambda own: own.xml('boxed', ('pencil', 1, 1, 9, 9)), 'annotation', "object 1: unknown class name 'pencil'"),
    (lambda own: own.xml('boxed', ('cup', 1, 1, 9, 99)), 'outside', 'partly outside the image'),
    (lambda own: own.xml('boxed', ('cup', 1, 1, 9, 9), size=(80, 60)), 'size',
     'boxed: sizes differ .* image 60 x 80, annotation 80 x 60'),
    (lambda own: own.tags(dict(all=['cups'])), 'tags', "all: unknown class 'cups' among its tags"),
    (lambda own: own.tags([1]), 'tags', 'image_tags.json: holds a list'),
    (lambda own: own.list('train_boxes', 'masked'), 'annotation', 'masked.xml: no such annotation'),
    (lambda own: own.list('train_masks', 'boxed'), 'mask', 'boxed.png: no such label map'),
    (lambda own: own.list('val', 'all', 'scored'), 'leak', 'train.txt holds 1 images of val, as all'),
    (lambda own: scene(4).save(own.root / 'JPEGImages/all.jpg'), 'leak', r'all \(train\) = scored \(val\)'),
])
def test_what_breaks_a_run(own, spoil, kind, found):
    spoil(own)
    report = own.check()
    assert report.errors == report.counts[kind] == 1, report.problems
    assert re.search(found, report.problems[kind][0].text), report.problems
    assert report.lines(errors=True) == [report.problems[kind][0].text]


def smaller_copy(own):
    buffer = io.BytesIO()
    scene(4).resize((64, 48)).save(buffer, 'JPEG', quality=70)
    (own.root / 'JPEGImages/a.b c.jpg').write_bytes(buffer.getvalue())


@pytest.mark.parametrize('spoil, kind, found', [
    (smaller_copy, 'near leak', 'a.b c (train) ≈ scored (val)'),
    (lambda own: scene(0).save(own.root / 'JPEGImages/masked.jpeg'), 'same bytes', 'all (train) = masked (train)'),
    (lambda own: (own.tags({}), own.list('train', 'all', 'a.b c')), 'unlabelled', 'a.b c: no tags, no boxes, no mask'),
    (lambda own: own.tags(dict(all=['cup'])), 'disagreement',
     'all: tags: cup; boxes: cup, red pen; mask: cup, red pen'),
    (lambda own: own.xml('boxed', ('cup', 1, 1, 80, 60)), 'whole-image box', 'boxed: cup at 0, 0, 80 x 60 pixels'),
    (lambda own: own.xml('boxed', ('cup', 3, 3, 5, 50), ('cup', 8, 3, 8, 6)), 'tiny box',
     'boxed: cup at 2, 2, 3 x 48 pixels, and 1 more like it'),
    (lambda own: own.xml('boxed', ('cup', 1, 3, 79, 6)), 'long box', 'boxed: cup at 0, 2, 79 x 4 pixels'),
    (lambda own: own.xml('boxed', *[('cup', 2, 2, 9, 9)] * 3), 'box twice',
     'boxed: cup at 1, 1, 8 x 8 pixels, and 1 more like it'),
    (lambda own: own.mask('masked', (slice(None), 255)), 'void mask', 'masked.png: every pixel'),
    (lambda own: scene(2, (20, 200)).save(own.root / 'JPEGImages/a.b c.jpg'), 'odd size',
     'a.b c: 200 x 20 pixels (width x height), a side under 32'),
    (lambda own: own.list('train', 'boxed'), 'classes', 'train: no image has red pen'),
    (lambda own: own.list('train', 'all', 'boxed', 'a.b c'), 'unlisted', '1 of 5 images are in no list, as masked'),
])
def test_what_is_worth_a_look(own, spoil, kind, found):
    spoil(own)
    report = own.check()
    assert report.errors == 0 and kind in report.problems, report.problems
    assert found in report.problems[kind][0].text
    if report.problems[kind][0].image_id:
        assert report.flagged[kind][0][1] == report.problems[kind][0].text


def test_equal_boxes_of_two_classes_are_none(own):
    own.xml('all', ('cup', 1, 1, 40, 30), ('red pen', 1, 1, 40, 30))
    assert own.found() == {}


def test_markers_and_lists(own):
    own.list('val')
    assert 'lists' not in own.found()
    own.list('train')
    assert own.found()['lists'] == [f'{own.root}/ImageSets/Segmentation: all lists are empty']
    (own.root / 'dataset.json').write_text('{"classes": []}')
    with pytest.raises(DataError, match='no `classes`'):
        own.check()


def test_processes_find_the_same(own):
    for number in range(40):
        scene(number % 37 + 10).save(own.root / f'JPEGImages/n{number}.jpg')
    own.list('train', 'all', *(f'n{number}' for number in range(40)))
    own.tags({})
    alone, shared = own.check(), own.check(workers=2)
    assert alone.to_json() == shared.to_json()
    # 40 pictures by 37 seeds; boxed, 'a.b c' and masked are in no list any more
    assert alone.counts == {'unlabelled': 40, 'same bytes': 3, 'unlisted': 1}


def test_looks_alike():
    grey = np.asarray(scene(0).convert('L'))
    bits = np.unpackbits(np.frombuffer(picture_hash(grey), np.uint8)).reshape(16, 16)
    # by hand: box means of a 16 x 17 grid, brighter by at least 3 to the right
    wide = np.kron(np.arange(17) % 2 * 100, np.ones((32, 4), int)).astype(np.uint8)
    assert np.unpackbits(np.frombuffer(picture_hash(wide), np.uint8)).reshape(16, 16)[0].tolist() == [1, 0] * 8
    assert picture_hash(np.full((50, 70), 128, np.uint8)) is None
    darker = np.unpackbits(np.frombuffer(picture_hash((grey * .8).astype(np.uint8)), np.uint8)).reshape(16, 16)
    assert (bits != darker).sum() <= 10
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 256, (1200, 32), np.uint8)
    looks[700], looks[1100], looks[1101] = looks[3], looks[3], looks[600]
    looks[1100, :2] ^= 0xFF       # 16 bits
    looks[1101, :3] ^= 0xFF       # 24 bits
    first = near_twins(looks)
    assert np.flatnonzero(first >= 0).tolist() == [700, 1100] and first[700] == first[1100] == 3
    assert list(groups(first, [str(i) for i in range(1200)])) == [['3', '700', '1100']]
    assert list(groups(np.array([-1, 0, 1, -1]), 'abcd')) == [['a', 'b', 'c']]
    assert same_bytes(np.array([[0], [1], [0], [1], [1]], np.uint8)).tolist() == [-1, -1, -1, 1, 1]


CONFIG = """
default_scope = 'mmseg'
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(
    type='wsss_mm.WeakSegDataset', data_root={root!r}, ann_file='ImageSets/Segmentation/train.txt',
    metainfo=dict(classes=('background', 'cup', 'red pen')), box_dir=None, tag_file='image_tags.json',
    label_dirs=dict(seg_map='not/yet/made'), pipeline=[dict(type='wsss_mm.LoadImage')])))
val_dataloader = dict(dataset=dict(
    type='wsss_mm.WeakSegDataset', data_root={root!r}, ann_file='ImageSets/Segmentation/val.txt',
    metainfo=dict(classes=('background', 'cup', 'red pen')), box_convention='exact', pipeline=[]))
test_dataloader = val_dataloader
"""


def test_data_of_a_config(own):
    own.list('train', 'all', 'a.b c')
    own.tags({'all': ['cup'], 'a.b c': ['pen']})
    layout = config_layout(Config.fromstring(CONFIG.format(root=str(own.root)), '.py'))
    assert layout.splits == dict(train=['all', 'a.b c'], val=['scored'])
    report = check_data(layout)
    problem, = report.problems['tags']
    assert 'a.b c' in problem.text and report.errors == 1
    # the mask of the pen lies in the default folder
    assert report.splits['train'].of_class.tolist() == [0, 1, 1] and report.splits['val'].objects.tolist() == [0, 1, 1]
    assert dict(report.splits['val'].labels) == dict(boxes=1, masks=1)
    own.list('val', 'all', 'scored')
    problem, = config_layout(Config.fromstring(CONFIG.format(root=str(own.root)), '.py')).problems
    assert problem == ('leak', 'train.txt holds 1 images of val, as all', None)
    with pytest.raises(ConfigError, match='no data set of this package'):
        config_layout(Config(dict(train_dataloader=dict(dataset=dict(type='mmseg.ADE20KDataset')))))


def test_boxes_of_a_coco_file(own):
    images = [dict(id=i, file_name=name, height=60, width=80) for i, name in ((1, 'all.jpg'), (2, 'boxed.png'))]
    boxes = [(1, [0, 0, 10, 10]), (1, [70, 5, 30, 10]), (2, [5, 5, 2, 2]), (2, [5, 5, 2, 2])]
    (own.root / 'boxes.json').write_text(json.dumps(dict(
        images=images, categories=[dict(id=3, name='cup')],
        annotations=[dict(id=n, image_id=i, category_id=3, bbox=box) for n, (i, box) in enumerate(boxes)])))
    cfg = Config(dict(pseudo_labels=dict(dataset=dict(
        type='wsss_mm.CocoBoxDataset', data_root=str(own.root), ann_file='boxes.json',
        data_prefix=dict(img_path='JPEGImages')))))
    report = check_data(config_layout(cfg))
    assert report.splits['labelled'].objects.tolist() == [0, 4]
    assert {kind: [p.text for p in found] for kind, found in report.problems.items()} == {
        'clipped': ['all: cup at 70, 5, 30 x 10 pixels lies partly outside 80 x 60 pixels'],
        'tiny box': ['boxed: cup at 5, 5, 2 x 2 pixels, and 1 more like it'],
        'box twice': ['boxed: cup at 5, 5, 2 x 2 pixels']}


def test_tool_writes_json_and_a_page(own, call_tool, tmp_path):
    own.xml('boxed', ('cup', 1, 1, 80, 60))
    own.tags({'all': ['cup', '<b>']})
    page, found = tmp_path / 'sheet.html', tmp_path / 'found.json'
    done = call_tool('prepare_dataset', 'check', '--root', own.root, '--sheet', page, '--json', found, '--workers', 0)
    assert done.code == 1, done.err
    assert "- all: unknown class '<b>' among its tags" in done.out and '1 findings' in done.out
    assert '- boxed: cup at 0, 0, 80 x 60 pixels' in done.out and '5/5 (100 %)' in done.out
    report, = json.loads(found.read_text())
    assert report['splits']['train']['classes']['cup'] == dict(images=2, objects=3, pixels=1)
    tags = next(f for f in report['findings'] if f['kind'] == 'tags')
    assert tags['breaks_a_run'] and tags['count'] == 1 and tags['listed'][0]['image'] == 'all'
    html = page.read_text()
    assert '&lt;b&gt;' in html and '<b>' not in html and html.count('<img ') >= 6
    assert 'src="http' not in html and "default-src 'none'" in html
    (own.root / 'image_tags.json').unlink()
    assert call_tool('prepare_dataset', 'check', '--root', own.root, '--workers', 0).code == 0


@pytest.mark.parametrize('line, words', [
    (['--root', 'x', '--config', 'y'], 'one of them'), ([], 'one of them'),
    (['--root', 'x', '--sheet', 'a.png'], 'ends with .html')])
def test_arguments_that_cannot_be(line, words, call_tool):
    said = call_tool('prepare_dataset', 'check', *line)
    assert said.code == 2 and words in said.err
