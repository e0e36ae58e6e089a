"""Progress with an ETA: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts finished items and says how long the rest will take.

    On a terminal one line is rewritten; elsewhere a line is printed every ``interval`` seconds, so logs stay short.

    Args:
        total: Number of items of the whole job.
        what: Name of the job, as in ``labels``.
        done: Items that were complete before this run; they do not count for the speed.
        interval: Seconds between lines where the output is not a terminal.
        quiet: Count, but print nothing, as another process does.
    """

    def __init__(self, total: int, what: str, done: int = 0, interval: float = 10.,
                 quiet: bool = False) -> None:
        self.total, self.what, self.done, self.interval = total, what, done, interval
        self.skipped, self.failed, self._quiet = done, 0, quiet
        self._start = self._last = time.monotonic()
        self._tty = sys.stdout.isatty()

    def step(self, failed: bool = False) -> None:
        """Count one more item."""
        self.reach(self.done + 1, self.failed + failed)

    def reach(self, done: int, failed: int) -> None:
        """:meth:`step` for work that others have a part in: so many items are finished, so many of them failed.

        The line of all of them is left to :meth:`finish`.
        """
        self.done, self.failed = done, failed
        now = time.monotonic()
        if done != self.total and now - self._last >= (.2 if self._tty else self.interval):
            self._last = now
            self._print(end='' if self._tty else '\n')

    def show(self, done: int, total: int) -> None:
        """:meth:`step` as a callback for work that counts itself and knows its total only once it has begun."""
        self.total = total
        self.step()

    def finish(self) -> None:
        """Print the last line."""
        self._print(end='\n')

    def line(self) -> str:
        """The line as printed."""
        seconds = time.monotonic() - self._start
        speed = (self.done - self.skipped) / seconds if seconds > 0 else 0.
        left = self.total - self.done
        eta = f'ETA {_clock(left / speed)}' if left and speed else f'took {_clock(seconds)}' if not left else 'ETA ?'
        share = 100 * self.done / self.total if self.total else 100
        parts = [f'{self.what}: {self.done}/{self.total} ({share:.0f} %)', f'{speed:.1f}/s', eta]
        if self.skipped:
            parts.append(f'{self.skipped} were done before')
        if self.failed:
            parts.append(f'{self.failed} failed')
        return '  '.join(parts)

    def _print(self, end: str) -> None:
        if not self._quiet:
            print(('\r\x1b[K' if self._tty else '') + self.line(), end=end, flush=True)


def _clock(seconds: float) -> str:
    seconds = int(seconds + .5)
    return f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'
