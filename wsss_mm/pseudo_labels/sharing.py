"""Work that any number of processes take from one folder: claims, signs of life, the claims of the dead.

There is no server, and no process needs to know of another: all is in files, on a disk that they share.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_BEAT = 5.   # seconds between two signs of life


class SharingEnded(Exception):
    """The folder is gone: another process has joined everything and ended the run."""


class SharedWork:
    """Shares of a piece of work, numbered from 0, each of which is claimed by one process.

    ``<folder>/claims/<share>.<n>`` is the n-th claim of a share, created exclusively (which NFS does since version 3),
    and holds its owner's token; the (n+1)-th is made where the n-th owner is gone. ``<folder>/<token>.alive`` says
    where an owner runs and grows by a byte every few seconds. An owner is gone once that file is; at once where it is
    on this machine and its process has ended; and where the file has not grown for ``stale_after`` seconds of this
    process's own clock, so that clocks are never compared. Who is taken for dead and is not does harmless double work.

    Args:
        folder: For claims and signs of life; made on entering.
        stale_after: Seconds without a sign of life after which an owner on another machine counts as gone.
    """

    def __init__(self, folder: str | Path, stale_after: float = 60.) -> None:
        self.folder, self.stale_after = Path(folder), stale_after
        self.token = secrets.token_hex(4)
        self._claims = self.folder / 'claims'
        self._alive = self.folder / f'{self.token}.alive'
        self._seen: dict[str, tuple[int, float]] = {}   # token → size of its file, when that was new to us
        self._stop = threading.Event()

    def __enter__(self) -> SharedWork:
        self._claims.mkdir(parents=True, exist_ok=True)
        self._alive.write_text(json.dumps(whereabouts(), sort_keys=True) + '\n')
        self._stop.clear()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._alive.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(min(_BEAT, self.stale_after / 5)):
            try:
                handle = os.open(self._alive, os.O_WRONLY | os.O_APPEND)
                os.write(handle, b'.')
                os.close(handle)
            except OSError:   # a full disk, or the run has ended; work goes on
                continue

    def claimed(self, count: int, is_open: Callable[[int], bool]) -> Iterator[int]:
        """Yield shares that nobody had as this process gets them, until all are claimed.

        With others about, from the middle of the longest row of free ones: so processes keep out of each other's way.

        Args:
            count: Number of shares.
            is_open: Whether a share still holds work.

        Raises:
            SharingEnded: another process has ended the run.
        """
        while True:
            taken = {int(name) for name in self._taken() if name.isdigit()}
            free = [s for s in range(count) if s not in taken and is_open(s)]
            if not free:
                break
            for share in free[_middle(free) if taken and self.others() else 0:]:
                if is_open(share):
                    if not self._claim(share, 0):
                        break   # met another process: look again
                    yield share

    def inherited(self, shares: Iterable[int]) -> Iterator[int]:
        """Yield those of some claimed shares whose owners are gone, as this process gets them.

        Raises:
            SharingEnded: another process has ended the run.
        """
        last = self._taken()
        for share in shares:
            if self._take(share, last):
                yield share

    def take(self, share: int | str) -> bool:
        """Claim a share that nobody has, or whose owner is gone; False where one has it, this process included."""
        return self._take(share, self._taken())

    def _take(self, share: int | str, last: Mapping[str, int]) -> bool:
        number = last.get(str(share))
        if number is None:
            return self._claim(share, 0)
        return self._is_left(share, number) and self._claim(share, number + 1)

    def observe(self) -> None:
        """Look at all signs of life; by the time of two looks, who shows none is known to be gone."""
        for path in self.folder.glob('*.alive'):
            self.is_gone(path.stem)

    def others(self) -> bool:
        """Whether other processes take part, as far as is known."""
        return any(not self.is_gone(path.stem) for path in self.folder.glob('*.alive') if path != self._alive)

    def is_here(self, token: str) -> bool:
        """Whether an owner is at work on this machine, for sure."""
        try:
            return _here((self.folder / f'{token}.alive').read_bytes()) is True
        except FileNotFoundError:
            return False

    def is_gone(self, token: str) -> bool:
        """Whether an owner has left, has died here, or has shown no life for ``stale_after`` seconds."""
        if token == self.token:
            return False
        try:
            content = (self.folder / f'{token}.alive').read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return True
        return _here(content) is False or self._is_stale(token, len(content))

    def ended(self) -> bool:
        """Whether another process has ended the run and put the folder away."""
        return not self._alive.exists()

    def end(self) -> None:
        """Put the folder away, in one step, so that no other process sees half of it."""
        with suppress(FileNotFoundError):
            self.folder.rename(self.folder.with_name(f'.{self.folder.name}-{self.token}'))
        # also those of processes that were killed here
        for away in self.folder.parent.glob(f'.{self.folder.name}-*'):
            shutil.rmtree(away, ignore_errors=True)

    def _claim(self, share: int | str, number: int) -> bool:
        try:
            handle = os.open(self._claims / f'{share}.{number}', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise SharingEnded from None
        try:
            os.write(handle, self.token.encode())
        finally:
            os.close(handle)
        return True

    def _is_left(self, share: int | str, number: int) -> bool:
        name = f'{share}.{number}'
        try:
            token = (self._claims / name).read_text(errors='replace')
        except FileNotFoundError:
            raise SharingEnded from None
        # Empty: its owner is about to write its token, or died before that.
        return self.is_gone(token) if token else self._is_stale(name, 0)

    def _is_stale(self, name: str, size: int) -> bool:
        now = time.monotonic()
        if name not in self._seen or self._seen[name][0] != size:
            self._seen[name] = (size, now)
        return now - self._seen[name][1] > self.stale_after

    def _taken(self) -> dict[str, int]:
        """The number of each claimed share's last claim."""
        try:
            names = [entry.name.rpartition('.') for entry in os.scandir(self._claims)]
        except FileNotFoundError:
            raise SharingEnded from None
        return {name: int(number) for name, _, number in sorted(names, key=lambda x: int(x[2]))}


def whereabouts() -> dict[str, Any]:
    """Host and process, and what tells them from others of the same name and number."""
    return dict(host=socket.gethostname(), place=_place(), pid=os.getpid(), started=_state(os.getpid())[1])


@cache
def _place() -> str:
    """A machine since its start, and a container on it: where process numbers mean the same."""
    parts = [socket.gethostname()]
    for read in (lambda: Path('/proc/sys/kernel/random/boot_id').read_text(), lambda: os.readlink('/proc/self/ns/pid')):
        try:
            parts.append(read())
        except OSError:
            continue
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]


def _state(pid: int) -> tuple[str, str]:
    """A process's state letter and when it started; empty where the system has no /proc or it is gone."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return '', ''


def _here(content: bytes) -> bool | None:
    """Whether the owner of a file of signs of life runs on this machine; None where that cannot be said."""
    try:
        who = json.loads(content.split(b'\n')[0])
        if who['place'] != _place():
            return None
        os.kill(who['pid'], 0)
    # just being written, or damaged; of another user
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, PermissionError):
        return None
    except ProcessLookupError:
        return False
    state, started = _state(who['pid'])
    return state not in ('Z', 'X') and started == who['started']


def _middle(free: list[int]) -> int:
    """Where in an ascending list the second half of its longest row of neighbours begins."""
    best, start = (0, 0), 0
    for i in range(1, len(free) + 1):
        if i == len(free) or free[i] != free[i - 1] + 1:
            best, start = max(best, (i - start, start)), i
    return best[1] + best[0] // 2
