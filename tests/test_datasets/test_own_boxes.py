"""Boxes of every source come back as the same pixels, and what is no box is named."""

import json

import numpy as np
import pytest
from PIL import Image

from wsss_mm.datasets.label_readers import read_voc_xml
from wsss_mm.datasets.own_data.boxes import read_class_names, read_own_boxes
from wsss_mm.datasets.own_data.masks import MaskReader, parse_mask_classes
from wsss_mm.datasets.own_data.pictures import Pictures
from wsss_mm.datasets.own_data.placing import place_boxes, place_masks, place_pictures
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.errors import ConfigError, DataError

from .conftest import write_xml
from .own import write_mask, write_pictures

# 40 x 30 pixels; 0-based half-open corners, one with fractions, one that fills the picture
BOXES = {'a__b_c': [('cat', 3, 5, 20, 30), ('dog', 1.25, 2.5, 30.75, 29.5), ('cat', 0, 0, 40, 30)], 'd': []}
CORNERS = [list(box[1:]) for box in BOXES['a__b_c']]
INDEX = dict(cat=0, dog=1)


@pytest.fixture
def read(tmp_path):
    """From a source to the XML, and back: ``{image id: (names, corners)}``."""
    folder = tmp_path / 'pictures'

    def boxes(path, class_names=None, clip=False, max_side=None):
        problems = Problems(tmp_path / 'problems.txt')
        if not folder.is_dir():
            write_pictures(folder)
        pictures = Pictures(folder, problems)
        found = read_own_boxes(path, pictures, problems, class_names, lambda text: None)
        problems.check(path)
        placed = place_pictures(pictures, tmp_path / 'out', False, max_side, problems)
        place_boxes(found, placed, tmp_path / 'xml', clip, problems)
        problems.check(path)
        result = {}
        for xml in sorted((tmp_path / 'xml').glob('*.xml')):
            read_back = read_voc_xml(xml, INDEX, 'exact')
            assert read_back.size == placed[xml.stem].size
            result[xml.stem] = [list(INDEX)[i] for i in read_back.labels], read_back.boxes.tolist()
        return result
    return boxes


@pytest.fixture
def problems(tmp_path):
    return Problems(tmp_path / 'problems.txt')


def coco(tmp_path, **changes):
    content = dict(
        images=[dict(id=7, file_name='b c.jpg', width=40, height=30), dict(id=9, file_name='d.bmp')],
        categories=[dict(id=3, name='cat'), dict(id=5, name='dog')],
        annotations=[dict(id=n, image_id=7, category_id=dict(cat=3, dog=5)[name], bbox=[x1, y1, x2 - x1, y2 - y1],
                          segmentation=[[1, 2, 3]]) for n, (name, x1, y1, x2, y2) in enumerate(BOXES['a__b_c'])])
    path = tmp_path / 'labels.json'
    path.write_text(json.dumps({k: v for k, v in {**content, **changes}.items() if v is not None}))
    return path


def yolo(tmp_path, text=None):
    folder = tmp_path / 'yolo'
    (folder / 'a').mkdir(parents=True)
    lines = [f'{INDEX[name]} {(x1 + x2) / 80} {(y1 + y2) / 60} {(x2 - x1) / 40} {(y2 - y1) / 30}'
             for name, x1, y1, x2, y2 in BOXES['a__b_c']]
    (folder / 'a/b c.txt').write_text('\n'.join(lines) if text is None else text)
    (folder / 'd.txt').write_text('')
    return folder


def csv(tmp_path, text):
    path = tmp_path / 'boxes.csv'
    path.write_text(text)
    return path


CSV = 'file,class,x1,y1,x2,y2\n' + ''.join(f'b c.jpg,{",".join(map(str, box))}\n' for box in BOXES['a__b_c'])


def same(found):
    assert found == {'a__b_c': (['cat', 'dog', 'cat'], CORNERS), 'd': ([], [])}


def test_coco(tmp_path, read):
    same(read(coco(tmp_path)))


def test_yolo_with_names_from_anywhere(tmp_path, read):
    folder = yolo(tmp_path)
    same(read(folder, ['cat', 'dog']))
    (tmp_path / 'data.yaml').write_text('path: .\nnames:\n  0: cat\n  1: dog\n')
    same(read(folder))
    (folder / 'classes.txt').write_text('cat\r\ndog\r\n')
    same(read(folder))


def test_csv_of_corners_and_of_sizes(tmp_path, read):
    same(read(csv(tmp_path, CSV + 'd,,,,,\n')))
    sizes = ''.join(f'b c.jpg;{x1};{y1};{x2 - x1};{y2 - y1};{name}\n' for name, x1, y1, x2, y2 in BOXES['a__b_c'])
    same(read(csv(tmp_path, 'image;X;Y;W;H;Label\n' + sizes + 'd;;;;;\n')))
    # TensorFlow's form has the picture's size in columns named width and height
    tf = ''.join(f'b c.jpg,40,30,{",".join(map(str, box))}\n' for box in BOXES['a__b_c'])
    same(read(csv(tmp_path, 'filename,width,height,class,xmin,ymin,xmax,ymax\n' + tf + 'd,18,16,,,,,\n')))


def test_voc_xml_covers_the_same_pixels(tmp_path, read):
    folder = tmp_path / 'voc'
    (folder / 'a').mkdir(parents=True)
    write_xml(folder / 'a/b c.xml', (30, 40), [(n, x1 + 1, y1 + 1, x2, y2) for n, x1, y1, x2, y2 in BOXES['a__b_c']])
    write_xml(folder / 'd.xml', (16, 18), [])
    same(read(folder))


def test_a_turned_picture_has_the_boxes_of_what_is_shown(tmp_path, read):
    assert read(csv(tmp_path, 'file,class,x1,y1,x2,y2\nturned.jpg,cat,0,30,20,50\n'))['turned'][1] == [[0, 30, 20, 50]]
    with pytest.raises(DataError, match='turned: 50 x 20 for the boxes, 20 x 50 the picture as shown'):
        read(coco(tmp_path, images=[dict(id=7, file_name='turned.jpg', width=50, height=20)]))


def test_shrunk_pictures_shrink_their_boxes(tmp_path, read):
    found = read(csv(tmp_path, CSV), max_side=20)   # 40 x 30 becomes 20 x 15
    np.testing.assert_allclose(found['a__b_c'][1], np.array(CORNERS) / 2)


def test_a_box_that_sticks_out(tmp_path, read):
    head = 'file,class,x1,y1,x2,y2\n'
    assert read(csv(tmp_path, head + 'd,cat,-1,0,18.9,16\n'))['d'][1] == [[0, 0, 18, 16]]   # by a pixel: clipped
    path = csv(tmp_path, head + 'd,cat,0,0,30,16\nd,cat,5,5,5,9\nd,dog,40,40,50,50\n')
    with pytest.raises(DataError) as info:
        read(path)
    text = str(info.value)
    assert text.startswith(f'{path}: 3 problems') and 'd.png is 18 x 16' in text and '--clip-boxes' in text
    assert 'line 3 (cat): x1, y1, x2, y2 = 5, 5, 5, 9' in text and 'a box without area (1)' in text
    assert read(csv(tmp_path, head + 'd,cat,0,0,30,16\n'), clip=True)['d'][1] == [[0, 0, 18, 16]]


@pytest.mark.parametrize('changes, said', [
    (dict(categories=None), ["no list of `categories`", "['annotations', 'images']"]),
    (dict(images=[dict(id=7)]), ['image 1 of `images`', 'file_name']),
    (dict(categories=[dict(id=3, name='cat')]), ['an unknown category (1)', 'annotation 1: category_id 5', '3 (cat)']),
    (dict(images=[]), ['an annotation of no image (3)', 'image_id 7']),
    (dict(images=[dict(id=7, file_name='gone.jpg')]), ["'gone.jpg'", 'image 7']),
    (dict(annotations=[dict(id=1, image_id=7, category_id=3, bbox=[1, 2, 3])]), ['annotation 1: bbox [1, 2, 3]'])])
def test_coco_that_is_none(tmp_path, read, changes, said):
    with pytest.raises(DataError) as info:
        read(coco(tmp_path, **changes))
    assert all(part in str(info.value) for part in ['labels.json', *said]), str(info.value)


@pytest.mark.parametrize('text, said', [
    ('0 .5 .5 .2 .2\n4 .5 .5 .1 .1', ['b c.txt, line 2: 4', '0 … 1: cat, dog', '--class-names']),
    ('0 20 15 8 9', ['a box in pixels (1)', 'line 1']),
    ('0 .1 .1 .2 .1 .3 .4 .5', ['a line that is no box (1)', 'line 1']),
    ('cat .5 .5 .1 .1', ["'cat .5 .5 .1 .1'"])])
def test_yolo_that_is_none(tmp_path, read, text, said):
    with pytest.raises(DataError) as info:
        read(yolo(tmp_path, text), ['cat', 'dog'])
    assert all(part in str(info.value) for part in said), str(info.value)


def test_yolo_without_names(tmp_path, read):
    with pytest.raises(DataError, match='their names are not known') as info:
        read(yolo(tmp_path))
    assert '--class-names cat dog' in str(info.value)
    (tmp_path / 'bad.yaml').write_text('names: 3')
    with pytest.raises(DataError, match='`names` is 3'):
        read_class_names(tmp_path / 'bad.yaml')


@pytest.mark.parametrize('text, said', [
    ('d.bmp,cat,1,2,3,4\n', ['line 1 holds no header']),
    ('file,class,a,b,c,d\nd,cat,1,2,3,4\n', ['no columns of a box']),
    ('file,class,x1,y1,x2,y2\nd,cat,1,2,x,4\n', ['line 2: cat, 1, 2, x, 4']),
    ('file,class,x1,y1,x2,y2\nd,cat,1,2,3\n', ['line 2: 5 fields'])])
def test_csv_that_is_none(tmp_path, read, text, said):
    with pytest.raises(DataError) as info:
        read(csv(tmp_path, text))
    assert all(part in str(info.value) for part in ['boxes.csv', *said]), str(info.value)


def test_a_folder_of_neither_kind_and_broken_xml(tmp_path, read):
    (tmp_path / 'none').mkdir()
    with pytest.raises(DataError, match='holds 0 XML files and 0 text files'):
        read(tmp_path / 'none')
    (tmp_path / 'none/d.xml').write_text('<annotation><size>')
    with pytest.raises(DataError, match='an annotation that cannot be read.*\n.*d.xml: not readable as XML'):
        read(tmp_path / 'none')


# ---- masks

def test_meaning_of_values():
    assert parse_mask_classes(['cat', 'dog']) == {1: 'cat', 2: 'dog'}
    assert parse_mask_classes(['7=cat', '0=dog', '3=ignore']) == {7: 'cat', 0: 'dog', 3: 'ignore'}
    assert parse_mask_classes(['#C00000=hot dog']) == {'#c00000': 'hot dog'}
    for wrong in (['1=cat', '#000000=dog'], ['cat', '1=dog'], ['1='], ['#c0=cat']):
        with pytest.raises(ConfigError, match='--mask-classes'):
            parse_mask_classes(wrong)


@pytest.fixture
def masks(tmp_path, problems):
    """What is written for ``a/b c.jpg`` (30 x 40): label map and class indices."""

    def run(values, meaning, colours=False, max_side=None):
        write_pictures(tmp_path / 'pictures')
        write_mask(tmp_path / 'masks/a/b c.png', values, colours)
        pictures = Pictures(tmp_path / 'pictures', problems)
        reader = MaskReader(tmp_path / 'masks', parse_mask_classes(meaning), ['cat', 'dog'])
        placed = place_pictures(pictures, tmp_path / 'out', False, max_side, problems)
        present = place_masks(reader, reader.find(pictures, problems), placed, tmp_path / 'labels', 3, problems)
        problems.check(tmp_path / 'masks')
        with Image.open(tmp_path / 'labels/a__b_c.png') as picture:
            assert picture.mode == 'P' and picture.getpalette()[3:6] == [128, 0, 0]
            return np.array(picture), present
    return run


def test_numbers_and_colours(masks):
    values = np.random.default_rng(0).choice([0, 7, 9, 255], (30, 40))
    expected = np.select([values == 7, values == 9, values == 255], [1, 2, 255], 0)
    found, present = masks(values, ['7=cat', '9=dog'])
    assert (found == expected).all() and present == {'a__b_c': [0, 1]}
    assert (masks(values, ['7=ignore', '9=cat', '255=dog'])[0] == np.select(
        [values == 7, values == 9, values == 255], [255, 1, 2], 0)).all()
    colours = np.select([values == 7, values == 9, values == 255], [0xc00000, 0x00c001, 0xe0e0c0], 0)
    assert (masks(colours, ['#c00000=cat', '#00c001=dog'], colours=True)[0] == expected).all()


def test_a_shrunk_mask_has_no_new_values(masks):
    values = np.zeros((30, 40), int)
    values[10:20, 10:20] = 2
    found, present = masks(values, ['cat', 'dog'], max_side=20)
    assert found.shape == (15, 20) and set(np.unique(found)) == {0, 2} and (found[5:10, 5:10] == 2).all()
    assert present == {'a__b_c': [1]}


@pytest.mark.parametrize('shape, value, said', [
    ((30, 40), 3, ['values that stand for no class (1)', 'b c.png: 3', '0, 1, 2, 255', '--mask-classes']),
    ((40, 30), 1, ['another size', 'b c.png: 30 x 40, the picture 40 x 30'])])
def test_masks_that_do_not_fit(masks, shape, value, said):
    with pytest.raises(DataError) as info:
        masks(np.full(shape, value), ['cat', 'dog'])
    assert all(part in str(info.value) for part in said), str(info.value)


def test_a_coloured_mask_needs_colours(masks):
    with pytest.raises(DataError, match='a mask in colours.*\n.*pixel type RGB'):
        masks(np.full((30, 40), 0xc00000), ['cat', 'dog'], colours=True)
