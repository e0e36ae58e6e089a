"""The lists of a large JSON file, an element at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

_CHUNK = 1 << 20
_BEHIND = frozenset(' \t\n\r,:]}')
_BLANK = re.compile(r'[ \t\n\r]*')


def stream_lists(path: str | Path, takers: Mapping[str, Callable[[Any], Any]],
                 object_hook: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """Hand over the elements of the lists in a JSON object, as they are parsed.

    The text in memory is a piece of some MB, whatever the size of the file. Naive: ``json.load``, which holds all of
    the text.

    Args:
        path: A file with one JSON object.
        takers: Called with each element of the list of that name; other members are parsed and dropped.
        object_hook: As of ``json.load``: called with each object inside, its result taken in its place.

    Raises:
        OSError: the file cannot be read.
        ValueError: no JSON, or cut short.
        KeyError: a list that is not there.
        TypeError: no object, or a member of ``takers`` that is no list.
    """
    with open(path, encoding='utf-8') as stream:
        reader = _Reader(stream, object_hook)
        if reader.peek() != '{':
            raise TypeError('the file holds no object')
        missing = dict.fromkeys(takers)
        reader.take('{')
        for _ in reader.entries('}'):
            name = reader.value()
            reader.take(':')
            taker = takers.get(name)
            missing.pop(name, None)
            if taker is not None and reader.peek() != '[':
                raise TypeError(f'{name!r} is no list')
            if reader.peek() != '[':
                reader.value()
                continue
            reader.take('[')
            for _ in reader.entries(']'):
                element = reader.value()
                if taker is not None:
                    taker(element)
        reader.end()
    for name in missing:
        raise KeyError(name)


class _Reader:
    """A window over the text; ``json`` parses what lies whole inside it."""

    def __init__(self, stream: TextIO, object_hook: Callable[[dict[str, Any]], Any] | None) -> None:
        self.stream, self.text, self.at, self.ended = stream, '', 0, False
        self.decoder = json.JSONDecoder(object_hook=object_hook)

    def fill(self, size: int | None = None) -> None:
        more = self.stream.read(size or _CHUNK)
        self.ended = not more
        self.text, self.at = self.text[self.at:] + more, 0

    def peek(self) -> str:
        """The next character that is no blank."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()   # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                raise json.JSONDecodeError('The file ends too early', self.text, self.at)
            self.fill()

    def take(self, character: str) -> None:
        if self.peek() != character:
            raise json.JSONDecodeError(f'Expecting {character!r}', self.text[self.at:self.at + 80], 0)
        self.at += 1

    def value(self) -> Any:
        """The next value, which may be larger than the window."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                found, end = self.decoder.raw_decode(self.text, self.at)
                # a number at the end of the window may go on, also as `1` of `1.5`, cut behind the point
                if self.ended or self.text[end:end + 1] in _BEHIND:
                    self.at = end
                    return found
            except RecursionError:
                raise json.JSONDecodeError('Nested too deep', self.text[self.at:self.at + 80], 0) from None
            except json.JSONDecodeError as error:
                if self.ended:
                    raise json.JSONDecodeError(error.msg, self.text[self.at:self.at + 80], 0) from None
            self.fill(size)
            size *= 2

    def entries(self, closing: str) -> Iterator[None]:
        """Step over the commas and the end; the caller reads what lies between."""
        first = True
        while first or self.peek() != closing:
            if not first:
                self.take(',')
            elif self.peek() == closing:
                break
            first = False
            if self.peek() == closing:
                raise json.JSONDecodeError('Expecting value', self.text[self.at:self.at + 80], 0)
            yield
        self.take(closing)

    def end(self) -> None:
        while not self.ended or self.at < len(self.text):
            self.at = _BLANK.match(self.text, self.at).end()   # type: ignore[union-attr]
            if self.at < len(self.text):
                raise json.JSONDecodeError('Extra data', self.text[self.at:self.at + 80], 0)
            self.fill()
