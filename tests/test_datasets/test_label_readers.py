"""Readers: conventions, and one refusal for each kind of broken input."""

import numpy as np
import pytest
from PIL import Image

from wsss_mm.datasets.label_readers import read_id_list, read_image, read_label_map, read_voc_xml
from wsss_mm.errors import ConfigError, DataError

from .conftest import write_xml

INDEX = dict(cat=0, dog=1)


@pytest.fixture
def xml(tmp_path):
    def write(*objects, size=(40, 60), **kwargs):
        write_xml(tmp_path / 'x.xml', size, objects, **kwargs)
        return tmp_path / 'x.xml'
    return write


def test_conventions_differ_by_one_in_the_minima(xml):
    path = xml(('dog', 3, 5, 60, 40), ('cat', 1, 1, 2, 2))
    exact, official = (read_voc_xml(path, INDEX, c) for c in ('exact', 'official'))
    assert exact.boxes.tolist() == [[2, 4, 60, 40], [0, 0, 2, 2]]
    assert official.boxes.tolist() == [[3, 5, 60, 40], [1, 1, 2, 2]]
    assert exact.labels.tolist() == [1, 0] and exact.size == (40, 60)
    assert exact.boxes.dtype == np.float32 and exact.labels.dtype == np.int64


def test_no_objects_gives_empty_arrays(xml):
    found = read_voc_xml(xml(), INDEX)
    assert found.boxes.shape == (0, 4) and found.labels.shape == found.difficult.shape == (0,)


def test_difficult_and_fractions(xml):
    found = read_voc_xml(xml(('cat', 3.5, 4.25, 10.75, 20), difficult=1), INDEX, 'exact')
    assert found.difficult.tolist() == [True]
    assert found.boxes.tolist() == [[2.5, 3.25, 10.75, 20]]


def test_single_pixel_box_is_a_box_in_the_exact_convention_only(xml):
    path = xml(('cat', 7, 8, 7, 8))
    assert read_voc_xml(path, INDEX, 'exact').boxes.tolist() == [[6, 7, 7, 8]]
    with pytest.raises(DataError, match='no area'):
        read_voc_xml(path, INDEX, 'official')


def test_unknown_class_names_it_and_the_known_ones(xml):
    with pytest.raises(DataError) as info:
        read_voc_xml(xml(('cat', 1, 1, 5, 5), ('hamster', 1, 1, 5, 5)), INDEX)
    text = str(info.value)
    assert 'x.xml' in text and "'hamster'" in text and 'cat, dog' in text and 'object 2' in text


@pytest.mark.parametrize('box', [(20, 1, 10, 5), (5, 9, 10, 8)])
def test_box_without_area(xml, box):
    with pytest.raises(DataError, match='no area'):
        read_voc_xml(xml(('cat', *box)), INDEX, 'exact')


def test_box_outside(xml):
    gone = xml(('cat', 70, 10, 80, 20))
    for policy in ('error', 'clip'):
        with pytest.raises(DataError, match=r'xmax, ymax = 70, 10, 80, 20 lies outside'):
            read_voc_xml(gone, INDEX, outside=policy)
    sticking_out = xml(('cat', 50, -7, 90, 20))
    with pytest.raises(DataError, match='partly outside') as info:
        read_voc_xml(sticking_out, INDEX)
    assert "box_outside='clip'" in str(info.value) and 'width 60, height 40' in str(info.value)
    assert read_voc_xml(sticking_out, INDEX, outside='clip').boxes.tolist() == [[50, 0, 60, 20]]


def test_one_pixel_over_the_border_is_clipped(xml):
    assert read_voc_xml(xml(('cat', 0, 1, 61, 41)), INDEX, 'exact').boxes.tolist() == [[0, 0, 60, 40]]


@pytest.mark.parametrize('value', ['abc', '', 'nan', 'inf'])
def test_coordinate_that_is_no_number(xml, value):
    with pytest.raises(DataError, match=r'object 1 \(cat\): bndbox/ymin'):
        read_voc_xml(xml(('cat', 1, value, 5, 5)), INDEX)


def test_missing_parts(tmp_path):
    path = tmp_path / 'x.xml'
    with pytest.raises(DataError, match='no such annotation'):
        read_voc_xml(path, INDEX)
    for text, found in (('', 'not readable as XML'), ('<annotation><si', 'not readable as XML'),
                        ('<annotation/>', 'size/width is missing')):
        path.write_text(text)
        with pytest.raises(DataError, match=found):
            read_voc_xml(path, INDEX)


def test_unknown_settings(xml):
    with pytest.raises(ConfigError, match='box_convention'):
        read_voc_xml(xml(), INDEX, 'cornerwise')
    with pytest.raises(ConfigError, match='box_outside'):
        read_voc_xml(xml(), INDEX, outside='drop')


@pytest.mark.parametrize('mode, value', [('L', 90), ('CMYK', (0, 165, 165, 0))])
def test_grey_and_cmyk_become_rgb(tmp_path, mode, value):
    Image.new(mode, (31, 17), value).save(tmp_path / 'x.jpg', quality=95)
    image = read_image(tmp_path / 'x.jpg')
    assert image.shape == (17, 31, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image, np.broadcast_to([90] * 3 if mode == 'L' else [255, 90, 90], image.shape), atol=3)


def test_orientation_is_applied_as_mmcv_does(tmp_path):
    import mmcv
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / 'x.png', exif=exif)
    theirs = mmcv.imread(str(tmp_path / 'x.png'), backend='pillow', channel_order='rgb')
    assert theirs.shape == (12, 8, 3)
    np.testing.assert_array_equal(read_image(tmp_path / 'x.png'), theirs)


@pytest.mark.parametrize('kept', [0, 40, .5, .95])
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_truncated_files_are_refused(tmp_path, kept, suffix):
    path = tmp_path / f'x.{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:kept if isinstance(kept, int) else int(len(content) * kept)])
    for reader in (read_image, read_label_map):
        with pytest.raises(DataError, match='cut short') as info:
            reader(path)
        assert str(path) in str(info.value)


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / 'x.png')
    with pytest.raises(DataError, match='I;16'):
        read_image(tmp_path / 'x.png')


def test_label_map_is_its_indices_whatever_the_palette(tmp_path):
    ids = np.arange(20, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(ids).save(tmp_path / 'grey.png')
    picture = Image.fromarray(ids, 'P')
    picture.putpalette([7] * 768)
    picture.save(tmp_path / 'palette.png')
    for name in ('grey', 'palette'):
        np.testing.assert_array_equal(read_label_map(tmp_path / f'{name}.png'), ids)
    picture.convert('RGB').save(tmp_path / 'colour.png')
    with pytest.raises(DataError, match="pixel type is 'RGB'"):
        read_label_map(tmp_path / 'colour.png')


def test_id_list(tmp_path):
    path = tmp_path / 'ids.txt'
    path.write_text('b\n\n a \nb\n')
    assert read_id_list(path) == ['b', 'a']
    path.write_text(' \n')
    with pytest.raises(DataError, match='split is empty'):
        read_id_list(path)
    with pytest.raises(DataError, match='not readable'):
        read_id_list(tmp_path / 'none.txt')
