"""CSV and JSON files of labels as users have them: any separator, a byte-order mark, any line ends."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wsss_mm.datasets.label_readers import each_once
from wsss_mm.errors import DataError

FILE_COLUMNS = ('file', 'filename', 'file_name', 'image', 'image_id', 'img', 'path', 'picture', 'photo', 'id', 'name')
_SEPARATORS = (',', ';', '\t')


class Table(NamedTuple):
    """A CSV file with its header.

    Attributes:
        path: The file.
        header: Names of the columns as they stand.
        rows: ``(line number, fields)``; lines without any text are left out.
        file_column: Index of the column that names pictures, None where no header says so.
    """

    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]
    file_column: int | None

    def column(self, *names: str) -> int | None:
        """Index of the first column with one of some names, whatever the case; None if there is none."""
        plain = [plain_name(h) for h in self.header]
        return next((plain.index(name) for name in names if name in plain), None)


def read_text(path: Path) -> str:
    """A text file in UTF-8, without the byte-order mark.

    Raises:
        DataError: missing, empty, or in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f'not readable ({error.strerror})', file=path, expected='a file of labels') from None
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b'\n') + 1
        raise DataError(f'line {line} is not UTF-8 (byte 0x{data[error.start]:02x})', file=path,
                        expected='text in UTF-8', fix='save it as "CSV UTF-8", or convert it: '
                        f'iconv -f latin1 -t utf-8 {path.name} > new.csv') from None
    if not text.strip():
        raise DataError('the file is empty', file=path, expected='a header and a line for each picture')
    return text


def read_table(path: str | Path) -> Table:
    """Read a CSV file; commas, semicolons or tabs, whichever the header has, part the columns.

    Raises:
        DataError: missing, empty, not UTF-8, a quote that is never closed, or no line below the header.
    """
    path = Path(path)
    text = read_text(path)
    text = text.lstrip('\r\n')
    separator = max(_SEPARATORS, key=re.split('[\r\n]', text, maxsplit=1)[0].count)
    # csv's own line ends alone: a name may hold others, as U+2028
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        lines = [(reader.line_num, [field.strip() for field in row]) for row in reader]
    except csv.Error as error:
        raise DataError(f'line {reader.line_num}: not readable as CSV ({error})', file=path,
                        expected='fields in whole quotes, or without any') from None
    header, rows = lines[0][1], [(number, row) for number, row in lines[1:] if any(row)]
    plain = [plain_name(h) for h in header]
    column = next((plain.index(name) for name in FILE_COLUMNS if name in plain), None)
    if not rows and column is not None:
        raise DataError('holds a header and no line below it', file=path, expected='a line for each picture')
    return Table(path, header, rows, column)


def plain_name(header: str) -> str:
    """A column's name in lower case, words joined by ``_``."""
    return re.sub(r'[\s-]+', '_', header.strip().lower())


def no_header(table: Table, fits: Any, example: str) -> DataError:
    """The error of a table whose header names no column of pictures.

    Args:
        table: The table.
        fits: Tells whether a text is the name of a picture.
        example: A header that would do.
    """
    found = ', '.join(map(repr, table.header[:6]))
    if any(fits(cell) for cell in table.header):
        return DataError(f'line 1 holds no header, but {found}', file=table.path,
                         expected=f'a header such as {example}', fix=f'put a first line into the file: {example}')
    return DataError(f'no column for the pictures; the header is {found}', file=table.path,
                     expected='a column named ' + ', '.join(FILE_COLUMNS[:5]) + ' …, parted by commas, semicolons or '
                     'tabs', fix=f'name the columns, as in {example}')


def read_json_file(path: str | Path) -> Any:
    """Read JSON in which no object has a key twice; outlines of COCO files (``segmentation``) are dropped at once.

    Raises:
        DataError: missing, empty, not UTF-8, not JSON, or a key twice.
    """
    path = Path(path)
    try:
        return json.loads(read_text(path), object_pairs_hook=_without_outlines)
    except (ValueError, RecursionError) as error:   # the latter of lists in lists in lists …
        raise DataError(f'not readable as JSON ({error})', file=path) from None


def _without_outlines(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = each_once(pairs)
    found.pop('segmentation', None)
    return found


def split_names(cell: str, separators: str = r'[;,|]') -> Iterator[str]:
    """The names in one field."""
    return filter(None, (name.strip() for name in re.split(separators, cell)))
