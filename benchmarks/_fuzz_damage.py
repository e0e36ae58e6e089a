"""Damage to files: bytes, words, the members of archives, arrays; as strategies of hypothesis."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
from hypothesis import strategies as st

_WORDS = re.compile(rb'"[^"\n]*"|[\w.+-]+|[\[\]{}<>,:;/=&]')
ODD_WORDS = (
    b'null', b'true', b'NaN', b'Infinity', b'-1', b'0', b'1e999', b'1e308', b'-0.5', b'2147483648', b'4294967295',
    b'9223372036854775808', b'99999999999999999999999999', b'9' * 5000, b'""', b'"x"', b'[]', b'{}', b'[[]]', b'[null]',
    b'{"a": 1}', b'"cat"', b'7', b'[' * 20000, b'{"a":' * 20000, b'<a>' * 5000, b'&#0;', b'&amp;', b'&lol;', b'\\ud800',
    b'"\\ud800"', b'"\\u0000"', b'../../x', b'/', b'.', b'..', b'\0', b'\xff', b'\xfe\xff', b'\xef\xbb\xbf', b'\r',
    b'\n', b'\x85', '\u2028'.encode(), 'ü'.encode(), b' ', b'%s', b'*a', b'!!python/object:os.system x', b'"', b"'",
    b'a.jpg', b'img', b'file', b'names', b'id', b'0x10', b'1_000', '٣'.encode(), b'1' + b'0' * 400)
_NUMBERS = (0, 1, 127, 128, 255, 256, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 2**40, 2**62, 2**63,
            2**64 - 1)
_KINDS = ('f8', 'f4', 'f2', 'i8', 'u8', 'i1', 'u1', '?', 'c16', 'U3', 'S2', 'M8[s]', 'm8[s]', 'i4,f4', '>i4')
_SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,), (3,), (2, 3), (0, 4), (2, 6, 8), (0, 6, 8), (2, 0, 8),
                                        (1, 1, 1), (2, 3, 4, 5), (2, 6, 9))
_FILLS = (0, 1, -1, .5, 2.5, float('nan'), float('inf'), 255, 2**31, 2**62)
_PNG = b'\x89PNG\r\n\x1a\n'

# What is done to bytes, where (as a share of the length), and with which of the odd things.
_STEPS = ('set', 'flip', 'cut', 'end', 'double', 'insert', 'word', 'word', 'no word', 'two words', 'number', 'swap')
_step = st.tuples(st.sampled_from(_STEPS), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
_steps = st.lists(_step, min_size=1, max_size=4)
_array_step = st.tuples(st.sampled_from(('drop', 'other', 'fill', 'cast', 'reshape', 'one', 'scalar', 'extra')),
                        st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))


def damage(data: bytes) -> st.SearchStrategy[bytes]:
    """Damaged forms of a valid file."""
    plain = _steps.map(lambda steps: damaged_bytes(data, steps))
    ways = [plain]
    if zipfile.is_zipfile(io.BytesIO(data)):
        ways.append(st.tuples(st.integers(0, 99), _steps).map(lambda x: _damaged_member(data, *x)))
        if _arrays(data):
            ways.append(st.lists(_array_step, min_size=1, max_size=3).map(lambda steps: _damaged_arrays(data, steps)))
    elif data.startswith(_PNG):
        ways.append(st.tuples(st.integers(0, 99), _steps, st.booleans()).map(lambda x: _damaged_chunk(data, *x)))
    return st.one_of(ways)


def damaged_bytes(data: bytes, steps: list[tuple[str, int, int]]) -> bytes:
    """Bytes after some steps, each ``(kind, place, choice)``."""
    for kind, place, choice in steps:
        at = place * (len(data) + 1) >> 16
        odd = ODD_WORDS[choice % len(ODD_WORDS)]
        if kind == 'set':
            data = data[:at] + bytes([choice & 255]) + data[at + 1:]
        elif kind == 'flip' and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << (choice & 7)]) + data[at + 1:]
        elif kind == 'cut':
            data = data[:at] + data[at + choice % 40 + 1:]
        elif kind == 'end':
            data = data[:at]
        elif kind == 'double':
            data = data[:at] + data[max(at - choice % 200, 0):]
        elif kind == 'insert':
            data = data[:at] + odd + data[at:]
        elif kind == 'number':
            form = ('<I', '>I', '<Q', '>Q', '<H', '>H')[choice % 6]
            limit = 256 ** struct.calcsize(form)
            value = struct.pack(form, _NUMBERS[choice // 6 % len(_NUMBERS)] % limit)
            data = data[:at] + value + data[at + len(value):]
        elif kind in ('word', 'no word', 'two words', 'swap'):
            data = _damaged_word(data, kind, place, choice, odd)
    return data


def _damaged_word(data: bytes, kind: str, place: int, choice: int, odd: bytes) -> bytes:
    found = list(_WORDS.finditer(data[:20000]))
    if not found:
        return data + odd
    start, stop = found[place % len(found)].span()
    if kind == 'no word':
        return data[:start] + data[stop:]
    if kind == 'two words':
        return data[:stop] + data[start:]
    if kind == 'swap':   # with a word from elsewhere in the same file
        return data[:start] + found[choice % len(found)][0] + data[stop:]
    return data[:start] + odd + data[stop:]


def _damaged_member(data: bytes, number: int, steps: list[tuple[str, int, int]]) -> bytes:
    """One member of an archive damaged and packed again, so that the checksum fits."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for i, (info, content) in enumerate(members):
            archive.writestr(info, damaged_bytes(content, steps) if i == number % len(members) else content)
    return buffer.getvalue()


def _damaged_chunk(data: bytes, number: int, steps: list[tuple[str, int, int]], inner: bool) -> bytes:
    """One chunk of a PNG damaged, with a checksum that fits; ``inner``: pixels are unpacked for it."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size, = struct.unpack_from('>I', data, at)
        chunks.append((data[at + 4:at + 8], data[at + 8:at + 8 + size]))
        at += size + 12
    number %= len(chunks)
    kind, content = chunks[number]
    if inner and kind == b'IDAT':
        try:
            content = zlib.compress(damaged_bytes(zlib.decompress(content), steps))
        except zlib.error:   # pixels in several chunks
            content = damaged_bytes(content, steps)
    else:
        content = damaged_bytes(content, steps)
    chunks[number] = kind, content
    return _PNG + b''.join(struct.pack('>I', len(c)) + k + c + struct.pack('>I', zlib.crc32(k + c)) for k, c in chunks)


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except ValueError:   # objects
        return {}
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}   # of a checkpoint none


def _damaged_arrays(data: bytes, steps: list[tuple[str, int, int, int]]) -> bytes:
    arrays: dict[str, Any] = _arrays(data)
    for kind, which, first, second in steps:
        if not arrays:
            break
        name = sorted(arrays)[which % len(arrays)]
        array = arrays[name]
        dtype, shape = np.dtype(_KINDS[first % len(_KINDS)]), _SHAPES[second % len(_SHAPES)]
        fill = _FILLS[second % len(_FILLS)]
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore')   # of complex numbers, whose imaginary part is dropped
            if kind == 'drop':
                del arrays[name]
            elif kind == 'other':
                arrays[name] = np.zeros(shape, dtype)
            elif kind == 'scalar':
                arrays[name] = array.ravel()[0] if array.size else array
            elif kind == 'extra':
                arrays[f'extra{which}'] = array
            elif kind == 'cast' and not (array.dtype.names or dtype.names) and array.dtype.kind not in 'USM':
                arrays[name] = array.astype(dtype) if dtype.kind not in 'Mm' else np.zeros(array.shape, dtype)
            elif kind == 'reshape' and array.size:
                arrays[name] = np.resize(array, shape)
            elif kind in ('fill', 'one') and array.dtype.kind in 'fiu' and array.size:
                own = array.copy()
                value = np.float64(fill).astype(own.dtype)
                own.flat[slice(None) if kind == 'fill' else first % own.size] = value
                arrays[name] = own
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
