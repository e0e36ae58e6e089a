"""Markers: small JSON files that say with which arguments a folder was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsss_mm.errors import DataError
from wsss_mm.files import read_json


def read_marker(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """A marker that was written with the wanted arguments, or None where there is none.

    Raises:
        DataError: it is unreadable, or was written with other arguments (the first field that differs is named).
    """
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError('not readable as a marker', file=path, expected='a JSON object',
                        fix='delete the folder and draw again')
    for field, value in wanted.items():
        if found.get(field) != value:
            raise DataError(f'drawn with {field}={found.get(field)!r}', file=path, expected=f'{field}={value!r}',
                            fix='draw into another folder, or delete this one')
    return found
