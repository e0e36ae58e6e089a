"""Files of arrays: the same bytes each time, nothing unpickled, damaged ones named."""

import numpy as np
import pytest

from wsss_mm.array_files import npz_bytes, read_arrays
from wsss_mm.errors import DataError

ARRAYS = dict(maps=np.arange(6, dtype=np.float16).reshape(2, 3), name=np.array('ä'), none=np.zeros((0, 4), np.int64))


def test_what_is_written_is_read(tmp_path):
    (tmp_path / 'a.npz').write_bytes(npz_bytes(ARRAYS))
    found = read_arrays(tmp_path / 'a.npz', 'maps')
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    assert npz_bytes(found) == npz_bytes(ARRAYS)


def test_the_array_of_an_npy_file_gets_a_name(tmp_path):
    np.save(tmp_path / 'a.npy', np.arange(3))
    assert read_arrays(tmp_path / 'a.npy', 'masks', alone='masks')['masks'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('content', [b'', b'no arrays', npz_bytes(ARRAYS)[:-30], b'PK\x05\x06', b'\x93NUMPY\x01\x00',
                                     npz_bytes(dict(maps=np.zeros(1)))[:40] + b'x' * 400])
def test_damaged_files_are_named(content, tmp_path):
    (tmp_path / 'a.npz').write_bytes(content)
    with pytest.raises(DataError, match=r'a.npz: not readable as maps \(\w+: '):
        read_arrays(tmp_path / 'a.npz', 'maps')


def test_every_changed_byte_is_found_or_harmless(tmp_path):
    """A flipped byte either is an error that names the file, or lies where it changes nothing but what zip ignores."""
    plain = npz_bytes(ARRAYS)
    for place in range(0, len(plain), 3):
        (tmp_path / 'a.npz').write_bytes(plain[:place] + bytes([plain[place] ^ 0xff]) + plain[place + 1:])
        try:
            found = read_arrays(tmp_path / 'a.npz', 'maps')
        except DataError as error:
            assert error.file == tmp_path / 'a.npz'
        else:
            assert all(np.array_equal(found[name], ARRAYS[name]) for name in set(found) & set(ARRAYS))


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', maps=np.array([{}], object))
    with pytest.raises(DataError, match='without pickled objects'):
        read_arrays(tmp_path / 'a.npz', 'maps')
