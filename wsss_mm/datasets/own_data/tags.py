"""Image tags from CSV or JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsss_mm.datasets.own_data.pictures import Pictures
from wsss_mm.datasets.own_data.problems import Problems
from wsss_mm.datasets.own_data.tables import (
    FILE_COLUMNS,
    Table,
    no_header,
    plain_name,
    read_json_file,
    read_table,
    split_names,
)
from wsss_mm.errors import DataError

_TAG_COLUMN = re.compile(r'(tag|label|class|class_name|categor(y|ie)|name)(s|es)?_?\d*')
_YES, _NO = {'1', '1.0', 'true', 'yes', 'x'}, {'0', '0.0', 'false', 'no', ''}
_EXAMPLE = 'file,tags'
_JSON_FORM = '{"picture.jpg": ["cat", "dog"], …} or [{"file": "picture.jpg", "tags": ["cat"]}, …]'

Say = Callable[[str], None]


def read_own_tags(path: str | Path, pictures: Pictures, problems: Problems, say: Say = print) -> dict[str, list[str]]:
    """Read the tags of pictures.

    CSV: a column of pictures and one or several of names, each with one name or several parted by ``;``, ``,`` or
    ``|``; or a line for each picture and name; or a column for each class with 0 and 1. JSON: ``{picture: [names]}``,
    or a list of objects.

    Args:
        path: The file; ``.json`` is JSON, all else CSV.
        pictures: What its names are looked up in.
        problems: Takes names of no picture and fields that are none.
        say: Told what was understood, and of repeated lines.

    Returns:
        ``{image id: names}`` without repeats, in the file's order; an empty list where the file names a picture, but
        no class.

    Raises:
        DataError: not such a file.
    """
    path = Path(path)
    found: dict[str, dict[str, None]] = {}
    for where, name, tags in _json_tags(path) if path.suffix.lower() == '.json' else _csv_tags(path, pictures, problems,
                                                                                               say):
        image_id = pictures.find(name, where, problems)
        if image_id is not None:
            found.setdefault(image_id, {}).update(dict.fromkeys(tags))
    return {image_id: list(names) for image_id, names in found.items()}


def _csv_tags(path: Path, pictures: Pictures, problems: Problems, say: Say) -> list[tuple[str, str, list[str]]]:
    table = read_table(path)
    if table.file_column is None:
        raise no_header(table, pictures.names_a_picture, _EXAMPLE)
    others = [i for i in range(len(table.header)) if i != table.file_column]
    columns = [i for i in others if _TAG_COLUMN.fullmatch(plain_name(table.header[i]))]
    entries: list[tuple[str, str, list[str]]] = []
    seen: dict[tuple[str, ...], int] = {}
    repeats = []
    one_hot = not columns and bool(others) and _is_one_hot(table, others)
    if not columns and not one_hot:
        raise DataError(f'no column of tags; the header is {", ".join(map(repr, table.header))}', file=path,
                        expected='a column named tags, tag, label or class, or a column for each class with 0 and 1',
                        fix=f'name the columns, as in {_EXAMPLE}')
    last_is_tags = columns[-1:] == [len(table.header) - 1]
    rows_of: dict[str, int] = {}
    for number, row in table.rows:
        where = f'{path.name}, line {number}'
        if len(row) > len(table.header) and not (last_is_tags and not one_hot) or len(row) <= table.file_column:
            problems.add('a line with another number of fields than the header', f'{where}: {len(row)} fields',
                         f'{len(table.header)}: {", ".join(table.header)}', 'put names that hold a comma into quotes')
            continue
        if tuple(row) in seen:
            repeats.append(number)
            continue
        seen[tuple(row)] = number
        name = row[table.file_column]
        if one_hot:
            if name in rows_of:
                problems.add('a picture on two lines that differ', f'{where}: {name!r}, also on line {rows_of[name]}')
            rows_of[name] = number
            tags = [table.header[i] for i in others if i < len(row) and row[i].lower() in _YES]
        else:
            cells = [row[i] for i in columns if i < len(row)] + row[len(table.header):]
            tags = [tag for cell in cells for tag in split_names(cell)]
        entries.append((where, name, tags))
    kind = f'{len(others)} columns of 0 and 1' if one_hot else 'tags in ' + ', '.join(table.header[i] for i in columns)
    say(f'{path}: {len(table.rows)} lines; pictures in {table.header[table.file_column]}, {kind}')
    if repeats:
        say(f'{path}: {len(repeats)} lines repeat another word for word and count once, as line {repeats[0]}')
    return entries


def _is_one_hot(table: Table, columns: list[int]) -> bool:
    return all(row[i].lower() in _YES | _NO for _, row in table.rows for i in columns if i < len(row))


def _json_tags(path: Path) -> list[tuple[str, str, list[str]]]:
    content = read_json_file(path)
    if isinstance(content, dict):
        pairs = [(f'{path.name}, key {name!r}', name, tags) for name, tags in content.items()]
    elif isinstance(content, list):
        pairs = [_entry(path, number, item) for number, item in enumerate(content, 1)]
    else:
        raise DataError(f'holds a {type(content).__name__}', file=path, expected=_JSON_FORM)
    return [(where, name, _names(path, where, tags)) for where, name, tags in pairs]


def _entry(path: Path, number: int, item: Any) -> tuple[str, str, Any]:
    if isinstance(item, dict):
        plain = {plain_name(key): value for key, value in item.items()}
        name = next((plain[key] for key in FILE_COLUMNS if isinstance(plain.get(key), str)), None)
        tags = next((value for key, value in plain.items() if key != 'name' and _TAG_COLUMN.fullmatch(key)), None)
        if name is not None and tags is not None:
            return f'{path.name}, entry {number}', name, tags
    raise DataError(f'entry {number} is {str(item)[:80]}', file=path, expected=_JSON_FORM)


def _names(path: Path, where: str, tags: Any) -> list[str]:
    names = [tags] if isinstance(tags, str) else tags
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'{where} has the tags {str(tags)[:80]}', file=path, expected=_JSON_FORM,
                        fix='write the names of the classes, not their numbers')
    return [name.strip() for name in names if name.strip()]
