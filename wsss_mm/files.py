"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsss_mm.errors import DataError

TEMPORARY = '.tmp-'


def write_atomic(path: str | Path, data: bytes | Iterable[bytes], owner: str | int = 0) -> str:
    """Write a file so that it is whole or absent, and return its SHA-256.

    A temporary file in the same folder is flushed and fsynced, then renamed over ``path``.

    Args:
        path: The file; its folder is made if need be.
        data: The content, whole or in pieces.
        owner: Who writes, in the temporary file's name: of several that write into one folder, leftovers are told apart
            by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}{TEMPORARY}{owner}-{os.getpid()}')
    try:
        sha256 = hashlib.sha256()
        with open(temporary, 'wb') as stream:
            for piece in [data] if isinstance(data, bytes) else data:
                stream.write(piece)
                sha256.update(piece)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return sha256.hexdigest()


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporary files that a killed process left below ``folder``, which no other process may be using."""
    for path in Path(folder).rglob(f'.*{TEMPORARY}*'):
        path.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any, owner: str | int = 0) -> str:
    """Write JSON atomically, keys sorted, so that equal contents give equal bytes."""
    return write_atomic(path, (json.dumps(content, indent=1, sort_keys=True) + '\n').encode(), owner)


def read_json(path: str | Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is no file, or it holds none: it may be cut short."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_run(root: str | Path) -> dict[str, Any] | None:
    """What ``run.json`` of a labelling run says; None where there is none.

    Raises:
        DataError: it is damaged, so that nobody knows what the labels there were made with.
    """
    path = Path(root) / 'run.json'
    found = read_json(path)
    if found is not None and isinstance(found.get('settings', {}), dict) and isinstance(found.get('files', {}), dict) \
            and isinstance(found.get('hash', None if found.get('complete') else ''), str):
        return found
    if not path.is_file():
        return None
    raise DataError('not readable as the record of a labelling run', file=path,
                    expected='the JSON object that the run wrote',
                    fix=f'rm -r {root}   (to make the labels anew), or bring the file back')


def read_stage(work_dir: str | Path) -> dict[str, Any] | None:
    """What ``stage.json`` of a finished training says: ``settings``, ``inputs``, ``product``.

    None where there is none, or a damaged one: the training is then taken up at its last checkpoint and says it anew.
    """
    found = read_json(Path(work_dir) / 'stage.json') or {}
    whole = isinstance(found.get('settings'), dict) and isinstance(found.get('inputs'), dict)
    return found if whole and isinstance(found.get('product'), str) else None


def label_png(label: np.ndarray, palette: list) -> bytes:
    """A label map as the bytes of an 8-bit palette PNG.

    Args:
        label: ``(H, W)`` uint8 segmentation ids; 255 is ignored.
        palette: RGB per class, background first; 255 is drawn in VOC's cream.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours[:len(palette)] = palette
    colours[255] = (224, 224, 192)
    picture = Image.fromarray(np.ascontiguousarray(label, dtype=np.uint8), mode='P')
    picture.putpalette(colours.tobytes())
    return png_bytes(picture)


def png_bytes(picture: np.ndarray | Image.Image) -> bytes:
    """A picture as the bytes of a PNG.

    Args:
        picture: ``(H, W)`` grey or ``(H, W, 3)`` RGB, uint8; or one of pillow's.
    """
    buffer = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(buffer, format='PNG')
    return buffer.getvalue()
