"""Files that are either whole or not there, and markers that say with what they were drawn."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_mm.errors import DataError


def write_bytes(path: Path, content: bytes, sync: bool = False) -> None:
    """Write beside the target, then rename: a reader never sees half a file.

    Args:
        sync: Also force it to the disk, for the few files that vouch for others.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    with open(temporary, 'wb') as stream:
        stream.write(content)
        if sync:
            stream.flush()
            os.fsync(stream.fileno())
    os.replace(temporary, path)


def write_image(path: Path, image: Image.Image, **options: Any) -> None:
    """Encode by the path's suffix (``.jpg`` or ``.png``) and write."""
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG' if path.suffix == '.jpg' else 'PNG', **options)
    write_bytes(path, buffer.getvalue())


def write_array_file(path: Path, **arrays: np.ndarray) -> None:
    """Write an uncompressed ``.npz``."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue(), sync=True)


def write_marker(path: Path, marker: dict[str, Any]) -> None:
    """Write a marker as JSON."""
    write_bytes(path, (json.dumps(marker, indent=2) + '\n').encode(), sync=True)


def read_marker(path: Path) -> dict[str, Any] | None:
    """A marker, or None where there is none.

    Raises:
        DataError: not a JSON object.
    """
    if not path.is_file():
        return None
    try:
        marker = json.loads(path.read_text())
    except ValueError:
        marker = None
    if not isinstance(marker, dict):
        raise DataError('not readable as a marker', file=path, expected='a JSON object',
                        fix='delete the folder and draw again')
    return marker


def check_marker(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a folder drawn with other arguments.

    Raises:
        DataError: naming the first field that differs.
    """
    for field, value in wanted.items():
        if found.get(field) != value:
            raise DataError(f'drawn with {field}={found.get(field)!r}', file=path, expected=f'{field}={value!r}',
                            fix='draw into another folder, or delete this one')
