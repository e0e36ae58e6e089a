"""Collecting what is wrong, so that one run names all of it."""

from __future__ import annotations

from pathlib import Path

from wsss_mm import files
from wsss_mm.errors import DataError

_SHOWN = 3


class Problems:
    """What is wrong with some inputs, by kind.

    Args:
        report: File that takes the whole list where a message cannot show it.
    """

    def __init__(self, report: str | Path) -> None:
        self.report = Path(report)
        self._kinds: dict[tuple[str, str | None, str | None], list[str]] = {}

    def add(self, kind: str, where: str, expected: str | None = None, fix: str | None = None) -> None:
        """Note a problem.

        Args:
            kind: The same sentence for all problems of a kind.
            where: File, line or field, and what was found there.
            expected, fix: As of :class:`~wsss_mm.errors.WSSSError`, the same for all of a kind.
        """
        self._kinds.setdefault((kind, expected, fix), []).append(where)

    def check(self, file: str | Path) -> None:
        """Raise if anything was noted.

        Raises:
            DataError: for each kind its count and the first three places.
        """
        if not self._kinds:
            return
        total = sum(map(len, self._kinds.values()))
        texts = []
        for (kind, expected, fix), places in self._kinds.items():
            shown = [*places[:_SHOWN], *([f'… and {len(places) - _SHOWN} more'] if len(places) > _SHOWN else [])]
            texts.append('\n    '.join([f'  {kind} ({len(places)}):', *shown]))
            texts += [f'    expected: {expected}'] * bool(expected) + [f'    to mend it: {fix}'] * bool(fix)
        if any(len(places) > _SHOWN for places in self._kinds.values()):
            lines = [f'{kind}: {place}' for (kind, _, _), places in self._kinds.items() for place in places]
            files.write_atomic(self.report, ('\n'.join(lines) + '\n').encode(errors='backslashreplace'))
            texts.append(f'  all of them: {self.report}')
        raise DataError(f'{total} problem{"s" * (total > 1)}\n' + '\n'.join(texts), file=file)
