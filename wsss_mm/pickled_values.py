"""What stands in pickles of arrays, built from bytes of a checked length; see :mod:`wsss_mm.safe_pickle`."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import Any

import numpy as np

_DTYPE = re.compile(r'[biufUSO][0-9]{1,5}')


class RefusedError(Exception):
    """The file asks for something that is not a plain value."""


class Name(str):
    """A known name, as a value on the stack; it stands for nothing that could be called."""


class Unbuilt:
    """An array or a dtype whose state comes with a later instruction."""

    def __init__(self, kind: str, dtype: np.dtype | None = None) -> None:
        self.kind, self.dtype, self.places = kind, dtype, list[int]()


class Storage:
    """Numbers of torch tensors, one row."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values


def only(kind: type | tuple[type, ...], value: Any) -> Any:
    """The value, which has to be of a type, or one of some.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, kind):
        raise TypeError(f'a {type(value).__name__} in the place of a {kind}')
    return value


def as_key(value: Any) -> Any:
    """A key of a dictionary or element of a set: a scalar or a tuple of them, since deeper ones take long to hash."""
    for part in value if isinstance(value, tuple) else (value,):
        if not isinstance(part, (str, bytes, int, float, np.generic, type(None))) or isinstance(part, Name):
            raise RefusedError(f'a {type(part).__name__} is a key')
    return value


def as_bytes(content: Any) -> bytes | bytearray:
    """Bytes; Python 2's byte strings come as text of the same numbers."""
    return content.encode('latin1') if isinstance(content, str) else only((bytes, bytearray), content)


def finish_dtype(target: Unbuilt, state: tuple) -> np.dtype:
    """A dtype of the byte order that its state names.

    Raises:
        RefusedError: of fields or subarrays.
    """
    _, order, *rest = state
    if order not in ('<', '>', '|', '=') or any(value is not None for value in rest[:3]) or target.dtype is None:
        raise RefusedError('its arrays are of a composed type')
    return target.dtype.newbyteorder(order)


def plain_dtype(spelling: Any, *_: Any) -> Unbuilt:
    """A dtype of numbers, text or objects by its spelling, as ``'f4'``; its byte order comes later.

    Raises:
        RefusedError: another type.
    """
    if not isinstance(spelling, str) or not _DTYPE.fullmatch(spelling):
        raise RefusedError(f'its arrays are of the type {spelling!r}')
    return Unbuilt('dtype', np.dtype('O' if spelling[0] == 'O' else spelling))


def build_array(shape: Any, dtype: Any, fortran: bool, content: Any) -> np.ndarray:
    """An array of bytes or of a list of objects; read-only where of bytes.

    Raises:
        ValueError: the content has another length than shape and type say.
    """
    shape = tuple(int(n) for n in only(tuple, shape))
    count, order = math.prod(shape), 'F' if fortran else 'C'
    dtype = dtype.dtype if isinstance(dtype, Unbuilt) else dtype
    if min(shape, default=0) < 0 or not isinstance(dtype, np.dtype) or not dtype.itemsize:
        raise ValueError(f'an array of shape {shape} and type {dtype}')
    if dtype.hasobject:
        objects = only(list, content)
        flat = np.empty(len(objects), object)
        for i, value in enumerate(objects):   # numpy would take sequences apart
            flat[i] = value
    else:
        raw = as_bytes(content)
        if len(raw) != count * dtype.itemsize:
            raise ValueError(f'{len(raw)} bytes for an array of shape {shape} and type {dtype}')
        flat = np.frombuffer(raw, dtype) if count else np.empty(0, dtype)
    return flat.reshape(shape, order=order)  # type: ignore[call-overload]


def build_scalar(dtype: Any, content: Any) -> Any:
    """A numpy scalar of its bytes."""
    found = build_array((1,), dtype, False, content)
    if found.dtype.hasobject:
        raise RefusedError('a scalar of an object')
    return found[0]


def from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array as protocol 5 writes it."""
    return build_array(shape, dtype, order == 'F', content)


def encoded(text: str, encoding: str = 'utf-8') -> bytes:
    """Bytes as protocol 2 of Python 3 writes them, as text."""
    if encoding not in ('latin1', 'latin-1'):
        raise RefusedError(f'bytes in the encoding {encoding!r}')
    return only(str, text).encode('latin1')


def ordered(pairs: Any = ()) -> OrderedDict:
    """An ordered dictionary of its pairs."""
    return OrderedDict((as_key(key), value) for key, value in pairs)


def build_tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """A torch tensor as an array, which is a read-only view of its storage.

    Raises:
        ValueError: it lies partly outside of its storage, or has more elements.
    """
    values = only(Storage, storage).values
    size, stride = (tuple(int(n) for n in only(tuple, part)) for part in (size, stride))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.empty(size, values.dtype)
    if min((offset, *size, *stride)) < 0 or last >= len(values) or math.prod(size) > len(values):
        raise ValueError(f'a tensor of shape {size}, strides {stride} in a storage of {len(values)} numbers')
    return np.lib.stride_tricks.as_strided(values[offset:], size, [step * values.itemsize for step in stride],
                                           writeable=False)
