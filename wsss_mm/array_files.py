"""Arrays as the bytes of an ``.npz`` file, and back, without pickle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsss_mm.errors import DataError

# Kinds of numpy's dtypes, and the length of each dimension, None where it is free.
Form = tuple[str, tuple[int | None, ...]]
WHOLE, NUMBERS, TEXT = 'iu', 'fiu', 'U'
# Pillow's limit, beyond which it takes an image for a bomb: no label can be of a larger one.
MAX_PIXELS = 2 * 89_478_485
_KINDS = {WHOLE: 'whole numbers', NUMBERS: 'numbers', TEXT: 'text'}


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
            arrays = {name: file[name] for name in file.files}
    except Exception as error:   # what a broken file makes numpy and zipfile raise has no end
        raise DataError(f'not readable as {what} ({type(error).__name__}: {error})', file=path,
                        expected='an .npz without pickled objects') from None
    if strange := sorted(name for name, array in arrays.items() if not isinstance(array, np.ndarray)):
        raise DataError(f'not readable as {what}: {", ".join(strange)} is no array', file=path,
                        expected='an .npz of arrays')
    return arrays


def check_forms(arrays: Mapping[str, np.ndarray], forms: Mapping[str, Form], path: str | Path) -> None:
    """Refuse arrays of a file that are missing, or of another type or shape than they should be.

    Args:
        arrays: As of :func:`read_arrays`; more of them may be there.
        forms: Type and shape of each.
        path: The file, for the error.

    Raises:
        DataError: naming the array and what it is.
    """
    if missing := sorted(set(forms) - set(arrays)):
        raise DataError(f'arrays missing: {missing}', file=path, expected=', '.join(forms))
    for name, (kinds, shape) in forms.items():
        found = arrays[name]
        fits = len(found.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
        if not fits or found.dtype.kind not in kinds:
            sides = ', '.join('any' if n is None else str(n) for n in shape)
            raise DataError(f'{name} is {found.dtype} of the shape {found.shape}', file=path,
                            expected=f'{_KINDS[kinds]} of the shape ({sides})')


def check_size(height: int, width: int, path: str | Path) -> None:
    """Refuse the size of an image that there cannot be.

    Raises:
        DataError: a side below 1, or more than ``MAX_PIXELS`` pixels.
    """
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise DataError(f'the size of the image is {height} x {width} (height x width)', file=path,
                        expected=f'sides of 1 or more, and at most {MAX_PIXELS:,} pixels')
