"""Files of class maps: what is written is read, and damaged ones are named."""

import io

import numpy as np
import pytest

from wsss_mm.errors import DataError
from wsss_mm.structures import ClassMaps

MAPS = np.random.default_rng(0).random((2, 30, 40), np.float32)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / 'a.npz'
    path.write_bytes(ClassMaps('a', np.array([1, 3]), MAPS, 120, 160).to_bytes())
    return path


def test_what_is_written_is_read(saved):
    found = ClassMaps.load(saved)
    assert (found.image_id, found.height, found.width, found.class_ids.tolist()) == ('a', 120, 160, [1, 3])
    assert found.background is None and np.abs(found.maps - MAPS).max() < 5e-4


@pytest.mark.parametrize('damage', ['empty', 'cut', 'overwritten', 'pickled', 'incomplete', 'misfit', 'missing'])
def test_a_damaged_file_is_named(saved, damage):
    whole = saved.read_bytes()
    if damage == 'empty':
        saved.write_bytes(b'')
    elif damage == 'cut':
        saved.write_bytes(whole[:len(whole) // 2])
    elif damage == 'overwritten':
        saved.write_bytes(whole[:600] + bytes(400) + whole[1000:])
    elif damage == 'missing':
        saved.unlink()
    else:
        arrays = dict(pickled=dict(maps=np.array([{}])), incomplete=dict(maps=MAPS), misfit=dict(
            image_id='a', class_ids=np.array([1]), maps=MAPS, size=np.array([120, 160])))[damage]
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        saved.write_bytes(buffer.getvalue())
    with pytest.raises(DataError) as caught:
        ClassMaps.load(saved)
    assert str(caught.value).startswith(f'{saved}: ')
