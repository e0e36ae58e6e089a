"""Pictures by what label files call them, and tags in every form that people write them in."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsss_mm.datasets.own_data.boxes import read_class_names, read_own_boxes
from wsss_mm.datasets.own_data.pictures import Pictures, image_id_of, picture_size
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.datasets.own_data.tags import read_own_tags
from wsss_mm.errors import DataError

from .own import IDS, PICTURES, write_pictures


@pytest.fixture
def problems(tmp_path):
    return Problems(tmp_path / 'problems.txt')


@pytest.fixture
def pictures(tmp_path, problems):
    found = Pictures(write_pictures(tmp_path / 'pictures'), problems)
    problems.check(tmp_path)
    return found


@pytest.fixture
def read(tmp_path, pictures, problems):
    """Tags of a file with some text, and what was said about it."""

    def tags(text, name='tags.csv'):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        said = []
        found = read_own_tags(path, pictures, problems, said.append)
        problems.check(path)
        return found, '\n'.join(said)
    return tags


# ---- pictures

def test_ids_are_readable_and_fit_for_files(pictures):
    assert pictures.names == IDS
    assert image_id_of('Ångström/x.jpg') == image_id_of('A\u030angstro\u0308m/x.jpg')   # two ways to write one name
    long = image_id_of('x' * 300 + '.jpg')
    assert len(long.encode()) <= 120 and long != image_id_of('x' * 301 + '.jpg')


def test_sizes_are_those_shown(pictures):
    assert {name: picture_size(pictures.path(i)) for i, name in pictures.names.items()} == PICTURES


def test_a_file_of_another_kind_is_no_missing_picture(pictures, problems):
    for name in ('moving.gif', '.hidden.png', 'a/notes.txt'):
        (pictures.folder / name).touch()
        assert pictures.find(name, 'tags.csv, line 2', problems) is None
    assert pictures.find('x' * 3000, 'tags.csv, line 3', problems) is None
    with pytest.raises(DataError, match=r"not taken for a picture \(3\):\n    tags.csv, line 2: 'moving.gif'(.|\n)*"
                                        r"files that end in .jpg(.|\n)*a picture that is not there \(1\)"):
        problems.check('tags.csv')


@pytest.mark.parametrize('name, image_id', [
    ('a/b c.jpg', 'a__b_c'), ('./a/b c.JPG', 'a__b_c'), ('b c.jpg', 'a__b_c'), ('b c', 'a__b_c'),
    (r'a\b c.jpg', 'a__b_c'), ('/home/me/pictures/a/b c.jpg', 'a__b_c'), ('img.v2', 'img_v2'), ('img.v2.jpg', 'img_v2'),
    ('u\u0308ni\u0308 (1).jpeg', 'ünï_1_')])
def test_a_picture_by_any_name(pictures, problems, name, image_id):
    assert pictures.find(name, 'line 1', problems) == image_id
    problems.check('x')


def test_a_name_in_another_folder_is_no_match(pictures, problems):
    assert pictures.find('other/plain.png', 'tags.csv, line 7', problems) is None
    with pytest.raises(DataError, match=r"a picture that is not there \(1\):\n    tags.csv, line 7: 'other/plain.png'"):
        problems.check('x')


def test_a_name_that_two_pictures_end_in(tmp_path, problems):
    found = Pictures(write_pictures(tmp_path / 'p', {'one/x.jpg': (9, 9), 'two/x.jpg': (9, 9)}), problems)
    assert found.find('two/x.jpg', '', problems) == 'two__x'
    assert found.find('x.jpg', 'line 2', problems) is None
    with pytest.raises(DataError, match="several pictures have.*\n.*'one/x.jpg', 'two/x.jpg'"):
        problems.check('x')


def test_two_files_with_one_id(tmp_path, problems):
    Pictures(write_pictures(tmp_path / 'p', {'x y.jpg': (9, 9), 'X_y.png': (9, 9), 'z.jpg': (9, 9)}), problems)
    with pytest.raises(DataError, match="same image id.*\n.*'X_y.png', 'x y.jpg'") as info:
        problems.check('x')
    assert 'rename' in str(info.value)


def test_folders_that_hold_no_pictures(tmp_path, problems):
    folder = write_pictures(tmp_path / 'p', {'x.jpg': (9, 9), 'masks/x.png': (9, 9), '.thumbs/y.jpg': (9, 9)})
    assert list(Pictures(folder, problems, [folder / 'masks']).names) == ['x']
    with pytest.raises(DataError, match='no such folder'):
        Pictures(tmp_path / 'nowhere', problems)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='no picture in this folder'):
        Pictures(tmp_path / 'empty', problems)


# ---- tags

SAME = {'a__b_c': ['cat', 'dog'], 'd': ['cat'], 'turned': []}


@pytest.mark.parametrize('text', [
    'file,tags\na/b c.jpg,cat;dog\nd.bmp,cat\nturned.jpg,\n',
    '\ufeffFile Name;Tags\r\na/b c.jpg;"cat, dog"\r\nd.bmp;cat\r\nturned.jpg;\r\n',
    'tags\timage\ncat|dog\tb c\ncat\td\n\tturned\n',
    'file,tags\na/b c.jpg,cat,dog\nd.bmp,cat\nturned.jpg\n',
    'file,tag1,tag2\na/b c.jpg,cat,dog\nd.bmp,cat,\nturned.jpg,,\n',
    'filename,class\na/b c.jpg,cat\na/b c.jpg,dog\nd.bmp,cat\nturned.jpg,\n',
    'image,cat,dog\na/b c.jpg,1,1\nd.bmp,1,0\nturned.jpg,0,0\n',
    '"path","label"\n"a/b c.jpg","cat,dog"\n\n"d.bmp","cat"\n"turned.jpg",""\n'])
def test_forms_of_csv(read, text):
    assert read(text)[0] == SAME


@pytest.mark.parametrize('content', [
    {'a/b c.jpg': ['cat', 'dog'], 'd': 'cat', 'turned.jpg': []},
    [{'file': 'b c.jpg', 'tags': ['cat', 'dog']}, {'file': 'd.bmp', 'tags': ['cat']},
     {'file': 'turned.jpg', 'tags': []}],
    [{'image': 'b c.jpg', 'label': 'cat'}, {'image': 'b c.jpg', 'label': 'dog'}, {'image': 'd.bmp', 'label': 'cat'},
     {'image': 'turned.jpg', 'label': []}]])
def test_forms_of_json(read, content):
    assert read(json.dumps(content), 'tags.json')[0] == SAME


def test_what_was_understood_is_said(read):
    assert 'pictures in Photo, tags in Tags' in read('Photo,Tags\nd.bmp,cat\n')[1]
    assert '2 columns of 0 and 1' in read('file,cat,dog\nd.bmp,1,0\n')[1]
    found, said = read('file,tags\nd.bmp,cat\nd.bmp,cat\nturned.jpg,cat\n')
    assert found == {'d': ['cat'], 'turned': ['cat']} and '1 lines repeat another word for word and count once' in said


@pytest.mark.parametrize('text, said', [
    ('', ['the file is empty']),
    ('file,tags\n', ['holds a header and no line below it']),
    ('d.bmp,cat\nturned.jpg,dog\n', ["line 1 holds no header, but 'd.bmp', 'cat'", 'file,tags']),
    ('what,ever\nd.bmp,cat\n', ["no column for the pictures; the header is 'what', 'ever'"]),
    ('file,colour\nd.bmp,cat\n', ["no column of tags; the header is 'file', 'colour'"]),
    ('file:tags\nd.bmp:cat\n', ["the header is 'file:tags'", 'parted by commas, semicolons or tabs']),
    ('file,tags\nx.jpg,cat\nd.bmp,cat\ny.jpg,\n', ['2 problems', "line 2: 'x.jpg'", "line 4: 'y.jpg'"]),
    ('file,cat\nd.bmp,1\nd.bmp,0\n', ['two lines that differ', "line 3: 'd.bmp', also on line 2"]),
    ('file,tags,by\nd.bmp,cat,dog,me\n', ['line 2: 4 fields', 'quotes']),
    ('file,tags\n"d.bmp,cat\n', ['not readable as CSV', 'whole quotes']),
    ('file,tags\nd.bmp,Käse\n'.encode('latin-1'), ['line 2 is not UTF-8 (byte 0xe4)', 'iconv'])])
def test_what_is_wrong_is_named(read, text, said):
    with pytest.raises(DataError) as info:
        read(text)
    assert all(part in str(info.value) for part in ['tags.csv', *said]), str(info.value)


@pytest.mark.parametrize('text, said', [
    ('{"d.bmp": [1]}', 'has the tags'), ('[["d.bmp", "cat"]]', 'entry 1'), ('{"d.bmp": ["cat"], "d.bmp": []}', 'twice'),
    ('3', 'holds a int'), ('{"d.bmp": [', 'not readable as JSON'), ('{"gone.jpg": []}', "key 'gone.jpg'")])
def test_json_that_is_none(read, text, said):
    with pytest.raises(DataError, match='tags.json') as info:
        read(text, 'tags.json')
    assert said in str(info.value)


def test_a_long_list_is_shown_in_part_and_written_whole(read, tmp_path):
    with pytest.raises(DataError) as info:
        read('file,tags\n' + ''.join(f'gone{i}.jpg,cat\n' for i in range(9)))
    assert 'gone2' in str(info.value) and 'gone3' not in str(info.value) and '… and 6 more' in str(info.value)
    assert len((tmp_path / 'problems.txt').read_text().splitlines()) == 9


# ---- any text

PIECES = st.lists(st.sampled_from([
    'file', 'tags', 'class', 'x1', 'd.bmp', 'b c.jpg', 'cat', ',', ';', '|', '\t', '\n', '\r\n', '"', '0', '1', '-1',
    '[', ']', '{', '}', ':', '\u2028', '\x00', '\ufeff', 'images', 'annotations', 'categories', 'names', '1e999']),
    max_size=25)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=PIECES, name=st.sampled_from(['t.csv', 't.json', 'yolo/d.txt', 'data.yaml']))
def test_any_text_is_read_or_refused(pictures, tmp_path, pieces, name):
    """Whatever a file of labels holds, nothing but an error of ours comes of it."""
    path = tmp_path / 'any' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(''.join(pieces).encode())
    problems = Problems(tmp_path / 'problems.txt')
    with contextlib.suppress(DataError):
        if name == 'data.yaml':
            read_class_names(path)
        elif name != 'yolo/d.txt':
            read_own_tags(path, pictures, problems, lambda text: None)
    with contextlib.suppress(DataError):
        if name != 'data.yaml':
            read_own_boxes(path.parent if name == 'yolo/d.txt' else path, pictures, problems, ['cat'],
                           lambda text: None)
