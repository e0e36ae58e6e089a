"""Errors that say what was found, what was expected and what mends it."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

_IN_REPOSITORY = (Path(__file__).resolve().parents[1] / 'tools/_common.py').is_file()


class WSSSError(Exception):
    """An error a user can mend.

    Args:
        problem: What is wrong, in one sentence, with the field and the value found.
        file: The file or folder it was found in.
        expected: What should have been there.
        fix: The command or the edit that mends it.
    """

    def __init__(self, problem: str, *, file: str | Path | None = None, expected: str | None = None,
                 fix: str | None = None) -> None:
        self.problem, self.file, self.expected, self.fix = problem, file, expected, fix
        super().__init__(problem)

    def __reduce__(self):
        # Keyword-only arguments: the default would drop them between processes.
        return _rebuild, (type(self), self.problem, str(self.file) if self.file else None,
                          self.expected, self.fix)

    def __str__(self) -> str:
        lines = [f'{self.file}: {self.problem}' if self.file else self.problem]
        if self.expected:
            lines.append(f'  expected: {self.expected}')
        if self.fix:
            lines.append(f'  to mend it: {_as_installed(self.fix)}')
        return '\n'.join(lines)


def _as_installed(text: str) -> str:
    """Commands as they can be called here: an installed package has no ``tools`` folder to name."""
    return text if _IN_REPOSITORY else re.sub(r'python tools/(\w+)\.py', r'python -m wsss_mm \1', text)


def _rebuild(kind: type[WSSSError], problem: str, file: str | None, expected: str | None,
             fix: str | None) -> WSSSError:
    return kind(problem, file=file, expected=expected, fix=fix)


class DataError(WSSSError):
    """Something in the user's images, boxes, masks or list files."""


class ConfigError(WSSSError):
    """Something in a config."""


class CheckpointError(WSSSError):
    """A checkpoint that is unsafe, unreadable or of another network."""


def describe_error(error: Exception) -> str:
    """One message for the manifest: ours as it is, others with the place they came from."""
    if isinstance(error, WSSSError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f'{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})'
