"""Arrays as the bytes of an ``.npz`` file, and back, without pickle."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsss_mm.errors import DataError

# What numpy and zipfile raise on files that are cut short, changed, or none of theirs.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, struct.error, zipfile.BadZipFile,
               zlib.error)


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a compressed ``.npz`` file; the same arrays in the same order give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)   # type: ignore[arg-type]  # numpy's stub forgets keywords
    return buffer.getvalue()


def read_arrays(path: str | Path, what: str, alone: str = 'array') -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file by name; nothing is unpickled.

    Args:
        path: The file.
        what: What it should hold, for the error.
        alone: Name of the one array of an ``.npy`` file.

    Raises:
        DataError: no such file, cut short, or holding objects.
    """
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {alone: found}
        with found as file:
            return {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise DataError(f'not readable as {what} ({type(error).__name__}: {error})', file=path,
                        expected='an .npz without pickled objects') from None
