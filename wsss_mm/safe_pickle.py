"""Pickles of arrays and plain containers, read without running anything that they name.

The published codes save class maps with ``np.save`` of a dictionary, which is a pickle: reading it with
``allow_pickle=True`` runs whatever the file asks for. Here a small machine of its own reads the pickle's instructions.
It never looks a name up: the few names that numpy and torch write for their arrays are known by their spelling, and
what they stand for is built here, from bytes of a checked length. Any other name ends the reading.
"""

from __future__ import annotations

import io
import pickletools
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wsss_mm import pickled_values as plain
from wsss_mm.errors import DataError

MAX_BYTES = 2**30      # of a file, and of what a compressed one holds
MAX_DEPTH = 64         # of containers in containers
_EXPECTED = 'numpy arrays, torch tensors, dictionaries, lists, tuples, sets, numbers and strings only'
_DAMAGED = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, EOFError, OSError,
            struct.error, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, SyntaxError,
            tokenize.TokenError)
_STORAGES = dict(FloatStorage='<f4', DoubleStorage='<f8', HalfStorage='<f2', BFloat16Storage='bfloat16',
                 LongStorage='<i8', IntStorage='<i4', ShortStorage='<i2', CharStorage='i1', ByteStorage='u1',
                 BoolStorage='?')
_TORCH_MAGIC, _TORCH_PROTOCOL = 0x1950a86a20f9469cfc6c, 1001
_NO_CHANGE = frozenset(('PROTO', 'FRAME'))
_CONSTANTS = dict(NONE=None, NEWTRUE=True, NEWFALSE=False)
_LITERALS = frozenset((
    'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING',
    'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINBYTES', 'SHORT_BINBYTES',
    'BINBYTES8', 'BYTEARRAY8'))
_EMPTY: dict[str, Callable[[], Any]] = dict(EMPTY_LIST=list, EMPTY_TUPLE=tuple, EMPTY_DICT=dict, EMPTY_SET=set)


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of any protocol, also one of Python 2.

    Args:
        path: The file, at most 1 GiB.

    Returns:
        Its content; torch tensors as arrays (bfloat16 as float32). Arrays may be read-only.

    Raises:
        DataError: missing, cut short, too large or too deep; or it names anything but arrays and plain containers, of
            which nothing was run.
    """
    return _guarded(path, lambda stream, size: _unpickle(stream, size))


def load_npy(path: str | Path) -> Any:
    """Read what ``np.save`` wrote: an array, or the dictionary or other object that it pickled.

    Args:
        path: The ``.npy`` file, at most 1 GiB.

    Returns:
        The array; of an array that holds a single object, this object.

    Raises:
        DataError: as :func:`load_pickle`; also records and dates.
    """
    return _guarded(path, _npy)


def load_npz(path: str | Path) -> dict[str, Any]:
    """Read what ``np.savez`` wrote, with objects in it or not.

    Args:
        path: The ``.npz`` file, at most 1 GiB, also unpacked.

    Returns:
        Content by name, as of :func:`load_npy`.

    Raises:
        DataError: as :func:`load_npy`.
    """
    def read(stream: BinaryIO, size: int) -> dict[str, Any]:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_BYTES:
                raise plain.RefusedError(f'it unpacks to more than {MAX_BYTES >> 20} MiB')
            found = {}
            for member in members:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise plain.RefusedError(f'{member.filename} is compressed in another way than numpy does')
                content = archive.read(member)
                found[member.filename.removesuffix('.npy')] = _npy(io.BytesIO(content), len(content))
            return found
    return _guarded(path, read)


def _guarded(path: str | Path, read: Callable[[BinaryIO, int], Any]) -> Any:
    """The content of a file, every way to fail as a :class:`DataError`."""
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise plain.RefusedError(f'it has {size >> 20} MiB, more than {MAX_BYTES >> 20}')
        with open(path, 'rb') as stream:
            return read(stream, size)
    except FileNotFoundError:
        raise DataError('no such file', file=path) from None
    except plain.RefusedError as error:
        raise DataError(f'refused: {error}', file=path, expected=_EXPECTED,
                        fix='nothing of it was run; if you trust who made it, save its arrays with np.savez') from None
    except _DAMAGED as error:
        raise DataError(f'not readable ({type(error).__name__}: {str(error)[:200]})', file=path,
                        expected='a whole file of numpy or pickle', fix='it may be cut short: copy it again') from None


def _npy(stream: BinaryIO, size: int) -> Any:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise plain.RefusedError(f'it is of version {version} of the format, for records')
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.hasobject:
        found = _unpickle(stream, size)
        return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    if dtype.kind not in 'biufUS':
        raise plain.RefusedError(f'its elements are of the type {dtype}')
    return plain.build_array(shape, dtype, fortran, stream.read(size))


def _unpickle(stream: BinaryIO, size: int) -> Any:
    found = _Machine(size).run(stream)
    _check_tree(found)
    return found


def _check_tree(root: Any) -> None:
    """Nothing but values, and not too deep; each container is looked at once, however often it is referred to."""
    level, seen = [root], set()
    for _ in range(MAX_DEPTH):
        below = []
        for node in level:
            if isinstance(node, (plain.Name, plain.Unbuilt, plain.Storage)):
                raise plain.RefusedError(f'it holds a {type(node).__name__.lower()} by itself as a value')
            if isinstance(node, dict):
                inner: list[Any] = list(node.values())
            elif isinstance(node, (list, tuple)):
                inner = list(node)
            elif isinstance(node, np.ndarray) and node.dtype.hasobject:
                inner = node.ravel().tolist()
            else:
                continue
            if id(node) not in seen:
                seen.add(id(node))
                below += inner
        if not below:
            return
        level = below
    raise plain.RefusedError(f'its containers are nested more than {MAX_DEPTH} deep')


class _Machine:
    """Runs the instructions of one pickle, in a loop without recursion.

    Args:
        size: Bytes of the file; bounds what may be copied, since a reference costs an instruction of two bytes.
        storages: Read the pickles inside of a torch storage: no calls, but references to numbers that follow.
    """

    def __init__(self, size: int, storages: bool = False) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.budget = 2 * size + 2**20
        self.storages = storages

    def run(self, stream: BinaryIO) -> Any:
        """The pickle's value; the stream is left behind its last instruction."""
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name == 'STOP':
                value, = self.stack
                return value
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self.stack.append(_EMPTY[name]())
            elif name in _NO_CHANGE:
                continue
            elif method := getattr(self, f'_{name.lower()}', None):
                method(argument)
            else:
                raise plain.RefusedError(f'it has the instruction {name}, which makes objects of other kinds')
        raise EOFError('no end')

    def _items(self) -> list[Any]:
        """What lies above the last mark, which are taken off."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise plain.RefusedError('it unfolds to much more than its size')

    # ---- the instructions, by their names in pickletools
    def _mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._items()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]
        if isinstance(self.stack[-1], plain.Unbuilt):
            self.stack[-1].places.append(place)

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self._put(len(self.memo))

    def _get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    _binget = _long_binget = _get

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        plain.only(list, self.stack[-1]).append(item)

    def _appends(self, _: Any) -> None:
        items = self._items()
        plain.only(list, self.stack[-1]).extend(items)

    def _list(self, _: Any) -> None:
        self.stack.append(self._items())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._items()))

    def _tuple1(self, _: Any) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _tuple2(self, _: Any) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _tuple3(self, _: Any) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        plain.only(dict, self.stack[-1])[plain.as_key(key)] = value

    def _setitems(self, _: Any) -> None:
        items = self._items()
        target = plain.only(dict, self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain.as_key(key)] = value

    def _dict(self, _: Any) -> None:
        items = self._items()
        self.stack.append({plain.as_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def _additems(self, _: Any) -> None:
        items = self._items()
        plain.only(set, self.stack[-1]).update(map(plain.as_key, items))

    def _frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(map(plain.as_key, self._items())))

    def _global(self, spelling: str) -> None:
        module, name = spelling.split(' ', 1)
        self.stack.append(_known(module, name, self.storages))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_known(module, name, self.storages))

    def _binpersid(self, _: Any) -> None:
        if not self.storages:
            raise plain.RefusedError('it refers to objects outside of it')
        # ('storage', type, key, device, count, view)
        kind, dtype, key, _, count, view = self.stack.pop()
        if kind != 'storage' or not isinstance(dtype, plain.Name) or view is not None:
            raise plain.RefusedError('it refers to objects outside of it')
        self.stack.append((str(dtype).removeprefix('torch.'), key, count))

    def _reduce(self, _: Any) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if self.storages or not isinstance(name, plain.Name) or name not in _BUILDERS:
            raise plain.RefusedError(f'it calls {name if isinstance(name, plain.Name) else type(name).__name__}')
        arguments = plain.only(tuple, arguments)
        self._spend(sum(len(a) for a in arguments if isinstance(a, (list, tuple, str, bytes, bytearray))))
        self.stack.append(_BUILDERS[name](*arguments))

    def _build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, plain.Unbuilt):
            raise plain.RefusedError(f'it sets the state of a {type(target).__name__}')
        built = plain.finish_dtype(target, state) if target.kind == 'dtype' else self._filled(*state)
        for place in target.places:
            if self.memo.get(place) is target:
                self.memo[place] = built
        self.stack.append(built)

    def _filled(self, _: int, shape: tuple, dtype: Any, fortran: bool, content: Any) -> np.ndarray:
        if isinstance(content, list):
            self._spend(len(content))
        return plain.build_array(shape, dtype, fortran, content)


def _known(module: Any, name: Any, storages: bool) -> plain.Name:
    """A name by its spelling today; numpy and Python had others."""
    spelling = f'{module}.{name}'
    if spelling.startswith('numpy.core.'):
        spelling = 'numpy._core.' + spelling.removeprefix('numpy.core.')
    elif spelling.startswith('__builtin__.'):
        spelling = 'builtins.' + spelling.removeprefix('__builtin__.')
    allowed = {f'torch.{storage}' for storage in _STORAGES} if storages else {*_BUILDERS, 'numpy.ndarray'}
    if spelling not in allowed:
        raise plain.RefusedError(f'it names {module}.{name}, which could run code')
    return plain.Name(spelling)


def _storage(content: Any) -> plain.Storage:
    """What torch writes for a storage: pickles of a header, of a reference and of its keys, then the numbers."""
    stream, size = io.BytesIO(plain.as_bytes(content)), len(content)
    magic, protocol, system, (kind, key, count), keys = (_Machine(size, storages=True).run(stream) for _ in range(5))
    if (magic, protocol, keys) != (_TORCH_MAGIC, _TORCH_PROTOCOL, [key]) or not system['little_endian']:
        raise ValueError("not torch's form of a storage")
    stated, = struct.unpack('<q', stream.read(8))
    brain = kind == 'BFloat16Storage'
    values = plain.build_array((int(stated),), np.dtype('<u2' if brain else _STORAGES[kind]), False, stream.read())
    if stated != count:
        raise ValueError(f'{stated} numbers in a storage of {count}')
    return plain.Storage((values.astype('<u4') << 16).view('<f4') if brain else values)


# What the known names stand for. All are functions of this file or containers, and see values alone.
_BUILDERS: dict[str, Callable[..., Any]] = {
    'numpy._core.multiarray._reconstruct': lambda *_: plain.Unbuilt('array'),
    'numpy._core.multiarray.scalar': plain.build_scalar,
    'numpy._core.numeric._frombuffer': plain.from_buffer,
    'numpy.dtype': plain.plain_dtype,
    'torch._utils._rebuild_tensor_v2': plain.build_tensor,
    'torch.storage._load_from_bytes': _storage,
    'collections.OrderedDict': plain.ordered,
    '_codecs.encode': plain.encoded,
    'builtins.bytes': lambda content=b'': bytes(plain.as_bytes(content)),
    'builtins.bytearray': lambda content=b'', encoding='latin-1': bytearray(plain.as_bytes(content)),
    'builtins.set': lambda items=(): set(map(plain.as_key, plain.only((list, tuple), items))),
    'builtins.frozenset': lambda items=(): frozenset(map(plain.as_key, plain.only((list, tuple), items))),
}
