"""Reading MXNet's binary ``.params`` files (``mx.nd.save``) without MXNet."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import CheckpointError

_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_TYPES = ('<f4', '<f8', '<f2', 'u1', '<i4', 'i1', '<i8')


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from('<' + form, self.data, self.at)
        self.at += struct.calcsize('<' + form)
        return values

    def array(self) -> np.ndarray:
        """One array: its version (in the oldest form the number of dimensions stands there), shape, device, type."""
        (head,) = self.take('I')
        if head in (_V2, _V3) and self.take('i') != (0,):
            raise ValueError('it holds sparse arrays')
        dims = self.take('I')[0] if head in (_V1, _V2, _V3) else head
        if not 0 < dims <= 8:
            raise ValueError(f'an array of {dims} dimensions')
        shape = self.take(f'{dims}{"q" if head in (_V1, _V2, _V3) else "I"}')
        _, _, kind = self.take('iii')
        dtype = np.dtype(_TYPES[kind])
        values = np.frombuffer(self.data, dtype, int(np.prod(shape)), self.at).reshape(shape)
        self.at += values.nbytes
        return values


def read_mxnet_params(path: str | Path) -> dict[str, Tensor]:
    """Named dense arrays of a ``.params`` file, such as ``resnet_38d.params``; nothing in the file can run.

    Returns:
        ``arg:…`` and ``aux:…`` names -> tensors on the CPU.

    Raises:
        CheckpointError: missing, cut off, or of another form.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError('no such checkpoint', file=path, expected='a .params file', fix='check the path')
    try:
        reader = _Reader(path.read_bytes())
        magic, _, number = reader.take('QQQ')
        if magic != _LIST_MAGIC:
            raise ValueError(f'it starts with {magic:#x}')
        arrays = [reader.array() for _ in range(number)]
        names = [bytes(reader.take(f'{reader.take("Q")[0]}s')[0]).decode() for _ in range(reader.take('Q')[0])]
        return {k: torch.from_numpy(v.copy()) for k, v in zip(names, arrays, strict=True)}
    except (struct.error, ValueError, IndexError) as error:
        raise CheckpointError(f'not readable as MXNet parameters ({error})', file=path,
                              expected='a list of named dense arrays as mx.nd.save writes it',
                              fix='fetch the file again; it may be cut off') from None
