"""The layout that ``custom`` writes, what the dataset reads of it, and what is refused."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from wsss_mm.datasets import WeakSegDataset
from wsss_mm.datasets.label_readers import read_id_list, read_image
from wsss_mm.datasets.own_data import Request, prepare_own_data, summary
from wsss_mm.datasets.transforms import LoadImage
from wsss_mm.engine import stages
from wsss_mm.errors import ConfigError, DataError

from .own import IDS, PICTURES, write_mask, write_pictures

TAGS = 'file,tags\nb c.jpg,cat\nplain.png,dog;cat\nd.bmp,\nimg.v2.JPG,dog\n'
BOXES = 'file,class,x1,y1,x2,y2\nb c.jpg,dog,3,5,20,30\nturned.jpg,cat,0,30,20,50\n'


@pytest.fixture
def request_of(tmp_path):
    """A request for pictures with tags, boxes and a mask, in any mix; ``ünï (1).jpeg`` has none of them."""
    write_pictures(tmp_path / 'pictures')
    (tmp_path / 'tags.csv').write_text(TAGS)
    (tmp_path / 'boxes.csv').write_text(BOXES)
    mask = np.zeros(PICTURES['a/plain.png'], int)
    mask[5:9, 5:9] = 2
    write_mask(tmp_path / 'masks/a/plain.png', mask)
    write_mask(tmp_path / 'masks/turned.png', np.ones(PICTURES['turned.jpg'], int))
    paths = {k: str(tmp_path / v) for k, v in dict(tags='tags.csv', boxes='boxes.csv', masks='masks').items()}

    def make(*kinds, **settings):
        if 'masks' in kinds:
            settings.setdefault('mask_classes', ('cat', 'dog'))
        return Request(str(tmp_path / 'pictures'), str(tmp_path / 'out'), **{k: paths[k] for k in kinds}, **settings)
    return make


@pytest.fixture
def prepare(request_of):
    """Prepare, and return the marker and what was said."""

    def run(*kinds, **settings):
        said = []
        return prepare_own_data(request_of(*kinds, **settings), said.append), '\n'.join(said)
    return run


def ids(out, name):
    path = out / f'ImageSets/Segmentation/{name}.txt'
    return read_id_list(path) if path.exists() else []


def test_any_mix_of_labels(prepare, tmp_path):
    out = tmp_path / 'out'
    marker, said = prepare('tags', 'boxes', 'masks', val='0')
    assert marker['classes'] == ['cat', 'dog']
    assert ids(out, 'all') == sorted(IDS) and ids(out, 'val') == []
    assert ids(out, 'train') == ['a__b_c', 'a__plain', 'd', 'img_v2', 'turned']
    assert [ids(out, kind) for kind in ('tags', 'boxes', 'masks')] == [
        ['a__b_c', 'a__plain', 'd', 'img_v2'], ['a__b_c', 'turned'], ['a__plain', 'turned']]
    assert ids(out, 'train_boxes') == ids(out, 'boxes') and ids(out, 'train_masks') == ids(out, 'masks')
    # what boxes and masks show are tags too, and it is said where tags did not have it
    assert json.loads((out / 'image_tags.json').read_text()) == {
        'a__b_c': ['cat', 'dog'], 'a__plain': ['cat', 'dog'], 'd': [], 'img_v2': ['dog'], 'turned': ['cat']}
    assert 'a__b_c (dog)' in said and '1 images have boxes or masks of classes that their tags do not name' in said
    assert marker['counts']['unlabelled'] == 1 and marker['counts']['per_class'] == {'cat': 3, 'dog': 3}
    assert '1 without any label' in summary(out, marker, {})
    table = (out / 'ids.csv').read_text().splitlines()
    assert 'a__b_c,a/b c.jpg,40,30,train,tags boxes' in table and 'ünï_1_,ünï (1).jpeg,25,25,,' in table


def test_pictures_keep_every_pixel(prepare, tmp_path):
    prepare('tags')
    for image_id, name in IDS.items():
        placed, = (tmp_path / 'out/JPEGImages').glob(f'{image_id}.*')
        assert (read_image(placed) == read_image(tmp_path / 'pictures' / name)).all()
        assert placed.is_symlink() == (not name.endswith('.bmp')) and placed.suffix in ('.jpg', '.png')
    shutil.rmtree(tmp_path / 'out')
    prepare('tags', copy=True)
    shutil.rmtree(tmp_path / 'pictures')
    assert all(read_image(path).size for path in (tmp_path / 'out/JPEGImages').iterdir())


def test_the_dataset_reads_it(prepare, tmp_path):
    marker, _ = prepare('tags', 'boxes', 'masks', val='0')
    common = dict(data_root=str(tmp_path / 'out'), img_suffix=None, box_convention='exact',
                  metainfo=dict(classes=('background', *marker['classes']), palette=[[0, 0, 0]] * 3))
    boxes = WeakSegDataset('ImageSets/Segmentation/train_boxes.txt', **common)
    assert [[(i['bbox'], i['bbox_label']) for i in boxes.get_data_info(n)['instances']] for n in range(2)] == [
        [([3, 5, 20, 30], 1)], [([0, 30, 20, 50], 0)]]
    mixed = WeakSegDataset(
        'ImageSets/Segmentation/train.txt', tag_file='image_tags.json', pipeline=[LoadImage()], **common,
        supervision_files={kind: f'ImageSets/Segmentation/train_{kind}.txt' for kind in ('masks', 'boxes')})
    infos = [mixed.get_data_info(i) for i in range(len(mixed))]
    assert {i['img_id']: i['supervision'] for i in infos} == dict(
        a__b_c='boxes', a__plain='masks', d='tags', img_v2='tags', turned='masks')
    assert [i['img_labels'] for i in infos] == [[0, 1], [0, 1], [], [1], [0]]
    assert mixed[2]['img_shape'] == PICTURES['d.bmp'] and mixed[4]['img_shape'] == PICTURES['turned.jpg']
    everything = WeakSegDataset('', box_dir=None, pipeline=[], **common)
    assert [everything.get_data_info(i)['img_id'] for i in range(len(everything))] == sorted(IDS)


@pytest.mark.parametrize('val, expected', [
    (None, []), ('masks', ['a__plain', 'turned']), ('.5', 1), ('list', ['a__b_c', 'd'])])
def test_ways_to_validate(prepare, tmp_path, val, expected):
    if val == 'list':
        val = str(tmp_path / 'val.txt')
        (tmp_path / 'val.txt').write_text('a/b c.jpg\nd\n')
    prepare('tags', 'boxes', 'masks', val=val)
    found = ids(tmp_path / 'out', 'val')
    assert found == expected if isinstance(expected, list) else len(found) == expected and found[0] in ids(
        tmp_path / 'out', 'masks')
    assert not set(found) & set(ids(tmp_path / 'out', 'train'))


def test_more_pictures_do_not_reshuffle(tmp_path):
    """Images of the smaller set change sides only where the larger one's share has no room for them."""
    folder = write_pictures(tmp_path / 'pictures', {f'{i}.png': (4, 4) for i in range(60)})
    sides = []
    for number in (50, 60):
        (tmp_path / 'tags.csv').write_text('file,tags\n' + ''.join(f'{i},cat\n' for i in range(number)))
        out = tmp_path / f'out{number}'
        prepare_own_data(Request(str(folder), str(out), tags=str(tmp_path / 'tags.csv'), val='.2'), lambda text: None)
        sides.append(set(ids(out, 'val')))
    assert [len(side) for side in sides] == [10, 12]
    assert len(sides[0] & sides[1]) >= 10 - 2


def test_again_changes_nothing(prepare, contents, tmp_path):
    prepare('tags', 'boxes', 'masks')
    before = contents(tmp_path / 'out')
    times = {p: p.lstat().st_mtime_ns for p in (tmp_path / 'out').rglob('*.xml')}
    prepare('tags', 'boxes', 'masks')
    assert contents(tmp_path / 'out') == before
    assert {p: p.lstat().st_mtime_ns for p in times} == times


def test_again_takes_up_what_has_changed(prepare, tmp_path):
    first = prepare('tags', 'boxes', 'masks')[0]
    (tmp_path / 'boxes.csv').write_text(BOXES.replace('turned.jpg,cat,0,30,20,50\n', ''))
    (tmp_path / 'masks/turned.png').unlink()
    (tmp_path / 'pictures/turned.jpg').unlink()
    new = np.zeros((8, 9, 3), np.uint8)
    Image.fromarray(new).save(tmp_path / 'pictures/new.png')
    Image.fromarray(new).save(tmp_path / 'pictures/d.bmp')
    os.utime(tmp_path / 'pictures/d.bmp', (1, 1))   # another picture, even with an older date
    marker = prepare('tags', 'boxes', 'masks')[0]
    out = tmp_path / 'out'
    assert sorted(p.name for p in (out / 'JPEGImages').iterdir()) == [
        'a__b_c.jpg', 'a__plain.png', 'd.png', 'img_v2.jpg', 'new.png', 'ünï_1_.jpg']
    assert sorted(p.name for p in (out / 'Annotations').iterdir()) == ['a__b_c.xml']
    assert sorted(p.name for p in (out / 'SegmentationClass').iterdir()) == ['a__plain.png']
    assert not read_image(out / 'JPEGImages/d.png').any() and marker['sha256'] != first['sha256']


def test_an_interrupted_run_goes_on(prepare, contents, tmp_path):
    prepare('tags', 'boxes', 'masks')
    out = tmp_path / 'out'
    before = contents(out)
    (out / 'dataset.unfinished.json').write_text((out / 'dataset.json').read_text())
    (out / 'dataset.json').unlink()
    (out / 'ids.csv').unlink()
    prepare('tags', 'boxes', 'masks')
    assert contents(out) == before


def test_other_settings_are_refused(prepare, tmp_path):
    prepare('tags')
    with pytest.raises(ConfigError, match='other settings; changed: copy, val') as info:
        prepare('tags', val='.3', copy=True)
    assert 'val=None' in str(info.value) and 'rm -r' in str(info.value)
    (tmp_path / 'tags.csv').write_text(TAGS + 'turned.jpg,cow\n')
    with pytest.raises(ConfigError, match='changed: classes'):   # masks and trainings would mean other classes
        prepare('tags')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/thesis.tex').touch()
    request = Request(str(tmp_path / 'pictures'), str(tmp_path / 'full'), tags=str(tmp_path / 'tags.csv'))
    with pytest.raises(ConfigError, match='holds other files, as thesis.tex'):
        prepare_own_data(request)


def test_unknown_classes_have_a_suggestion(prepare):
    with pytest.raises(DataError) as info:
        prepare('tags', 'boxes', classes=('catt', 'dog', 'cow'))
    assert "'cat' (tags of a__b_c), perhaps 'catt'" in str(info.value)
    assert prepare('tags', classes=('dog', 'cat'))[0]['classes'] == ['dog', 'cat']


@pytest.mark.parametrize('line, said', [
    ('turned.jpg,Cat\n', "differ by case alone (1):\n    'Cat' and 'cat'"),
    ('turned.jpg,background\n', 'background (1)')])
def test_names_that_are_no_classes(prepare, tmp_path, line, said):
    (tmp_path / 'tags.csv').write_text(TAGS + line)
    with pytest.raises(DataError) as info:
        prepare('tags')
    assert said in str(info.value)


def test_a_thousand_classes_do_not_fit(prepare, tmp_path):
    (tmp_path / 'tags.csv').write_text('file,tags\nd.bmp,' + ';'.join(f'c{i}' for i in range(1000)) + '\n')
    with pytest.raises(ConfigError, match='^1000 classes') as info:
        prepare('tags')
    assert '1 to 254' in str(info.value)
    (tmp_path / 'tags.csv').write_text('file,tags\nd.bmp,' + ';'.join(f'c{i}' for i in range(254)) + '\n')
    assert len(prepare('tags')[0]['classes']) == 254


def test_broken_pictures_are_named_together(prepare, tmp_path):
    for name in ('a/b c.jpg', 'a/plain.png'):
        path = tmp_path / 'pictures' / name
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError) as info:
        prepare('tags')
    text = str(info.value)
    assert 'a picture that cannot be read (2)' in text and "'a/b c.jpg': not readable" in text
    assert not (tmp_path / 'out/dataset.json').exists()


def test_problems_of_all_sources_come_together(prepare, tmp_path):
    (tmp_path / 'tags.csv').write_text(TAGS + 'gone.jpg,cat\n')
    (tmp_path / 'boxes.csv').write_text(BOXES + 'd,cat,1,2,x,4\n')
    with pytest.raises(DataError) as info:
        prepare('tags', 'boxes')
    assert 'tags.csv, line 6' in str(info.value) and 'boxes.csv, line 4' in str(info.value)


@pytest.mark.parametrize('settings, said', [
    ({}, 'no labels are named'), (dict(tags='tags.csv', val='1.5'), "--val is '1.5'"),
    (dict(tags='tags.csv', val='masks'), 'without --masks'), (dict(tags='t', class_names=('a',)), 'without --boxes'),
    (dict(tags='t', mask_classes=('a',)), 'without --masks'), (dict(tags='t', max_side=3), '--max-side is 3'),
    (dict(masks='masks'), 'masks without names'), (dict(tags='tags.csv', val='.9999'), 'no labelled image is left')])
def test_settings_that_cannot_be(request_of, tmp_path, monkeypatch, settings, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, DataError)) as info:
        prepare_own_data(replace(request_of(), **settings), lambda text: None)
    assert said in str(info.value)


def test_the_stage_of_own_data(prepare, tmp_path):
    stage = stages.to_stage(dict(run='data', kind='custom', root=str(tmp_path / 'out')))
    with pytest.raises(DataError, match='own data are not there'):
        stages.why_incomplete(stage)
    prepare('tags')
    assert stages.why_incomplete(stage) is None
    before = stages.product_of(stage)
    prepare('tags')
    assert stages.product_of(stage) == before
    (tmp_path / 'tags.csv').write_text(TAGS.replace('b c.jpg,cat', 'b c.jpg,dog'))
    prepare('tags')
    assert stages.product_of(stage) != before   # trained on other tags: to be trained anew
