"""Pickles without running them: what numpy and torch write is read, what would run code does not, bombs are refused."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss_mm.errors import DataError
from wsss_mm.safe_pickle import load_npy, load_npz, load_pickle

VALUES = {
    'text': 'Hündchen', 'bytes': b'\0\xff', 'none': None, 'flag': True, 'int': 2**70, 'float': -.5, 3: (1, (2, 'x')),
    'list': [1, [2, {'a': 3}]], 'set': {1, 'b'}, 'frozen': frozenset([2]), 'bytearray': bytearray(b'ab'),
    'ordered': collections.OrderedDict(b=1, a=2), (1, 2): 'pair', 'twice': [[0]] * 2}
ARRAYS = {
    'float32': np.arange(6, dtype=np.float32).reshape(1, 2, 3), 'fortran': np.asfortranarray(np.eye(3)[:2]),
    'big': np.arange(4, dtype='>i2'), 'bool': np.array([True, False]), 'text': np.array(['ab', 'ç']),
    'empty': np.zeros((0, 4)), 'scalar': np.float32(.25), 'zero_d': np.array(7), 'half': np.ones(2, np.float16),
    'slice': np.arange(10)[::3]}


def same(found, expected):
    if isinstance(expected, (np.ndarray, np.generic)):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    else:
        assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_and_arrays_come_back(protocol, tmp_path):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps({'values': VALUES, **ARRAYS}, protocol))
    found = load_pickle(path)
    assert found.pop('values') == VALUES and found.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        same(found[name], expected)


def test_an_npy_of_a_dictionary_with_torch_tensors(tmp_path):
    """The form in which IRN, AdvCAM and RIB save class maps."""
    maps = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0))
    saved = dict(keys=torch.tensor([3, 14]), cam=maps[1:3].transpose(1, 2), high_res=maps[:2].numpy(), half=maps.half(),
                 brain=maps.bfloat16(), none=torch.zeros(0, 4), flag=torch.tensor([True, False]))
    np.save(tmp_path / 'a.npy', saved)
    found = load_npy(tmp_path / 'a.npy')
    assert found.keys() == saved.keys()
    for name, tensor in saved.items():
        expected = tensor.float() if name == 'brain' else tensor
        same(found[name], np.asarray(expected))


def test_old_spellings_and_python_2(tmp_path):
    """numpy 1's modules; Python 2's text of bytes and ``__builtin__``."""
    numpy1 = (b'\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85'
              b'cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08'
              + np.array([1, -2], '<f4').tobytes() + b'tb.')
    python2 = b'\x80\x02c__builtin__\nset\n]K\x01a\x85R.'
    for content, expected in ((numpy1, np.array([1, -2], np.float32)), (python2, {1})):
        (tmp_path / 'a').write_bytes(content)
        same(load_pickle(tmp_path / 'a'), expected)


def test_plain_files_and_objects_in_an_npz(tmp_path):
    np.savez_compressed(tmp_path / 'a.npz', **ARRAYS, keys=np.array({2: np.ones(3)}, object),
                        names=np.array([[1], 'a', None], object))
    found = load_npz(tmp_path / 'a.npz')
    for name, expected in ARRAYS.items():
        same(found[name], np.asarray(expected))
    same(found['keys'][2], np.ones(3))
    assert found['names'].tolist() == [[1], 'a', None]
    np.save(tmp_path / 'b.npy', ARRAYS['fortran'])
    same(load_npy(tmp_path / 'b.npy'), ARRAYS['fortran'])


class Calls:
    """An object whose pickle calls something."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def call_of(name, *arguments, protocol=2):
    """A pickle that calls a name; the name is not imported to make it."""
    module, function = name.rsplit('.', 1)
    return (b'\x80\x02c' + f'{module}\n{function}\n'.encode()
            + pickle.dumps(arguments, protocol).removeprefix(b'\x80\x02').removesuffix(b'.') + b'R.')


def hostile(mark):
    """Pickles that write a file when loaded."""
    command, code = f'touch {mark}', f'open({str(mark)!r}, "w").close()'
    yield 'os.system', pickle.dumps(Calls(os.system, command))
    yield 'posix.system inside', pickle.dumps({'keys': [1], 'cam': [Calls(os.system, command)]}, 4)
    yield 'eval', pickle.dumps(Calls(eval, code), 0)
    yield 'exec', pickle.dumps(Calls(exec, code), 3)
    yield 'open', pickle.dumps(Calls(open, str(mark), 'w'))
    yield 'getattr', (b'\x80\x04c__builtin__\ngetattr\ncos\nsystem\n\x8c\x08__call__\x86R' + pickle.dumps(command)[2:-1]
                      + b'\x85R.')
    for name in ('numpy.load', 'numpy.core.multiarray.fromfile', 'numpy.memmap',
                 'numpy.testing._private.utils.runstring', 'numpy.testing.runstring', 'numpy.f2py.compile',
                 'numpy.distutils.exec_command.exec_command',
                 'numpy.lib.npyio.DataSource', 'numpy.ndarray.tofile', 'torch.load', 'torch._utils._rebuild_tensor',
                 'torch.serialization.load', 'torch.hub.load', 'torch.storage.UntypedStorage.from_file',
                 'copyreg._reconstructor', 'copy_reg._reconstructor', 'copyreg.__newobj__', 'functools.partial',
                 'operator.attrgetter', 'builtins.__import__', 'pickle.loads', '_pickle.loads', 'numpy.ndarray',
                 'builtins.getattr', 'builtins.map', 'builtins.print', 'collections.namedtuple', 'runpy._run_code'):
        yield name, call_of(name, str(mark), 'w')
    # protocol 4's names with dots: an attribute of an admitted name
    yield 'dotted', b'\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.'
    yield 'dotted 2', b'\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.'
    yield 'build', b'\x80\x02ccollections\nOrderedDict\n)R}U\x08__dict__}sb.'
    yield 'newobj', b'\x80\x02cos\nsystem\n)\x81.'
    yield 'newobj of an admitted name', b'\x80\x02ccollections\nOrderedDict\n)\x81.'
    yield 'inst', b'(S' + repr(command).encode() + b'\nios\nsystem\n.'
    yield 'obj', b'(cos\nsystem\nS' + repr(command).encode() + b'\no.'
    yield 'extension', b'\x80\x02\x82\x01.'
    yield 'persistent', b'Pabc\n.'
    yield 'persistent tuple', b'\x80\x02(U\x07storageK\x01K\x02K\x03K\x04NtQ.'
    yield 'an admitted name as a value', b'\x80\x02cnumpy\nndarray\n.'
    yield 'a call of a value', b'\x80\x02U\x03abc)R.'
    yield 'another encoding', call_of('_codecs.encode', 'abc', 'idna')
    yield 'in a storage', call_of('torch.storage._load_from_bytes', pickle.dumps(Calls(os.system, command), 2))


HOSTILE = dict(hostile('x'))


@pytest.mark.parametrize('name', HOSTILE)
def test_what_would_run_code_is_refused_and_does_not_run(name, tmp_path):
    mark = tmp_path / 'mark'
    content = dict(hostile(mark))[name]
    path = tmp_path / 'a.pkl'
    path.write_bytes(content)
    with pytest.raises(DataError, match='refused: ') as refused:
        load_pickle(path)
    assert 'nothing of it was run' in str(refused.value) and str(path) in str(refused.value)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, dict(descr='|O', fortran_order=False, shape=()))
    (tmp_path / 'a.npy').write_bytes(header.getvalue() + content)
    with pytest.raises(DataError, match='refused: '):
        load_npy(tmp_path / 'a.npy')
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr('maps.npy', header.getvalue() + content)
    with pytest.raises(DataError, match='refused: '):
        load_npz(tmp_path / 'a.npz')
    assert not mark.exists()


def test_the_hostile_pickles_do_run_elsewhere(tmp_path):
    """So the test above would see it."""
    mark = tmp_path / 'mark'
    pickle.loads(dict(hostile(mark))['posix.system inside'])
    assert mark.exists()


def test_the_message_names_what_was_asked_for(tmp_path):
    path = tmp_path / 'a.npy'
    np.save(path, {'cam': Calls(os.system, 'true')})
    with pytest.raises(DataError, match='it names (posix|nt).system, which could run code'):
        load_npy(path)


def nested(depth, opening=b'(', closing=b'l'):
    return b'\x80\x02' + opening * depth + closing * depth + b'.'


def bombs():
    yield 'lists in lists', nested(100_000), 'nested more than'
    yield 'tuples in tuples', nested(100_000, closing=b't'), 'nested more than'
    doubled = b'\x80\x02)' + b''.join(b'q' + bytes([i]) + b'h' + bytes([i]) + b'\x86' for i in range(60))
    yield 'a tuple that takes 2^60 steps to hash', b'\x80\x02}' + doubled[2:] + b'K\x01s.', 'is a key'
    yield 'a long list copied again and again', (
        b'\x80\x02](' + b'K\x01' * 4000 + b'eq\x000' + b'c__builtin__\nset\nq\x010' + b'h\x01h\x00\x85R0' * 1000 + b'N.'
    ), 'unfolds'
    yield 'memory that is not there', b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'abc.', 'not readable'
    yield 'an array larger than its bytes', call_of(
        'numpy._core.numeric._frombuffer', b'abcd', None, (10**9,), 'C'), 'not readable'
    yield 'a scalar of a huge type', b'\x80\x02cnumpy\ndtype\nU\nU999999999K\x00K\x01\x87R.', 'of the type'
    yield 'a place far out', b'\x80\x02K\x01r\xff\xff\xff\xff.', None


@pytest.mark.parametrize('name, content, message', bombs(), ids=lambda v: v if isinstance(v, str) else '')
def test_bombs_are_refused(name, content, message, tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(content)
    if message is None:
        assert load_pickle(path) == 1
        return
    with pytest.raises(DataError, match=message):
        load_pickle(path)


def test_doubling_without_hashing_is_looked_at_once(tmp_path):
    value = [0]
    for _ in range(50):
        value = [value, value]
    (tmp_path / 'a').write_bytes(pickle.dumps(value))
    found = load_pickle(tmp_path / 'a')
    while len(found) == 2:
        assert found[0] is found[1]
        found = found[0]
    assert found == [0]


@pytest.mark.parametrize('tensor', [
    dict(offset=1), dict(size=(2, 4)), dict(stride=(4, 1)), dict(size=(-2, -3)),
    dict(stride=(0, 0), size=(10**6, 10**6)), dict(offset=-1)])
@pytest.mark.filterwarnings('ignore:TypedStorage')
def test_tensors_outside_of_their_storage_are_refused(tensor, tmp_path):
    """Reading beyond the numbers would show the memory behind them."""
    storage = torch.arange(6.).storage().__reduce__()[1][0]
    fine = dict(offset=0, size=(2, 3), stride=(3, 1))
    for changed, good in ((fine, True), ({**fine, **tensor}, False)):
        inner = call_of('torch.storage._load_from_bytes', storage)[2:-1]
        rest = b''.join(pickle.dumps(changed[k], 2)[2:-1] for k in ('offset', 'size', 'stride'))
        (tmp_path / 'a').write_bytes(b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(' + inner + rest + b'\x89NtR.')
        if good:
            assert load_pickle(tmp_path / 'a').tolist() == [[0, 1, 2], [3, 4, 5]]
        else:
            with pytest.raises(DataError, match='a tensor of shape'):
                load_pickle(tmp_path / 'a')


def test_every_cut_is_an_error_with_the_files_name(tmp_path):
    np.save(tmp_path / 'a.npy', dict(keys=torch.tensor([1]), cam=np.ones((1, 2, 2), np.float32)))
    whole = (tmp_path / 'a.npy').read_bytes()
    path = tmp_path / 'cut.npy'
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match='cut.npy'):
            load_npy(path)
    with pytest.raises(DataError, match='no such file'):
        load_npy(tmp_path / 'none.npy')
    path.write_bytes(b'PK' + whole)
    with pytest.raises(DataError, match='not readable'):
        load_npz(path)


def test_records_dates_and_large_files_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / 'a.npy', np.zeros(3, [('a', 'f4')]))
    with pytest.raises(DataError, match='of the type'):
        load_npy(tmp_path / 'a.npy')
    np.savez_compressed(tmp_path / 'a.npz', a=np.zeros(100_000))
    monkeypatch.setattr('wsss_mm.safe_pickle.MAX_BYTES', 2**16)
    with pytest.raises(DataError, match='unpacks to more than'):
        load_npz(tmp_path / 'a.npz')
    np.save(tmp_path / 'b.npy', np.zeros(100_000))
    with pytest.raises(DataError, match='more than'):
        load_npy(tmp_path / 'b.npy')


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    | st.tuples(inner, inner), max_leaves=10)


@settings(max_examples=60, deadline=None)
@given(value=PLAIN, protocol=st.integers(0, 5))
def test_any_plain_value_comes_back(value, protocol, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'plain'
    path.write_bytes(pickle.dumps(value, protocol))
    assert load_pickle(path) == value


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_read_or_refused_never_more(data, tmp_path_factory):
    """Single bytes changed anywhere."""
    whole = bytearray(pickle.dumps(dict(keys=torch.tensor([1]), cam=np.ones((1, 2), np.float32), s={1}), 2))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / 'damaged'
    path.write_bytes(whole)
    try:
        load_pickle(path)
    except DataError as error:
        assert str(path) in str(error)
