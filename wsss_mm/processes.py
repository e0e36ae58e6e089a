"""What worker processes of every kind need: one thread, an end with their parent, and an end with their pool."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

_LOOK = 5.   # seconds between two looks at whether a pool is broken


def start_worker() -> None:
    """First thing in a spawned worker: one torch thread, Ctrl-C left to the parent, and no life beyond it."""
    # Ctrl-C reaches every process of the terminal; the parent alone ends the run.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A killed parent cannot stop its pool; an orphan would wait for work for ever.
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


class WorkerPool(ProcessPoolExecutor):
    """Spawned worker processes; one that dies breaks the pool and never hangs it.

    CPython before 3.12 does not guard the breaking of a pool against a ``submit`` at the same moment: a process that is
    being started then is waited for and never told to end, or cannot be started, and the future may never be settled.
    So what is left of a broken pool is killed as it is shut down, and :meth:`first`, :meth:`result` and
    :meth:`in_order` do not wait for its futures; the futures' own ``result`` and the base class's ``map`` would.

    Args:
        num_workers: Number of processes.
        initializer: Called first in each of them; has to call :func:`start_worker`.
        initargs: Its arguments.
    """

    def __init__(self, num_workers: int, initializer: Callable[..., None] = start_worker,
                 initargs: tuple[Any, ...] = ()) -> None:
        # spawn: a forked child of a process with running torch threads can hang
        super().__init__(num_workers, mp_context=multiprocessing.get_context('spawn'), initializer=initializer,
                         initargs=initargs)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """As of the base class.

        Raises:
            BrokenProcessPool: a process has died.
        """
        try:
            return super().submit(fn, *args, **kwargs)
        except OSError:
            if self._broken:   # its pipes were closed before another process had got them
                raise BrokenProcessPool('a process died while another was started') from None
            raise

    def first(self, futures: Iterable[Future]) -> set[Future]:
        """Wait until at least one future is done; none are where the pool broke without settling any."""
        futures = list(futures)
        while True:
            done = wait(futures, _LOOK, FIRST_COMPLETED).done
            if done or self._broken:
                return done

    def result(self, future: Future) -> Any:
        """A future's result, waited for.

        Raises:
            BrokenProcessPool: a process has died; besides, what the call raised.
        """
        if not self.first([future]) and not future.done():
            raise BrokenProcessPool('a process died while another was started')
        return future.result()

    def in_order(self, fn: Callable[..., Any], *columns: Iterable[Any]) -> Iterator[Any]:
        """Results of one call per row of ``columns``, in their order; all are submitted at once.

        Raises:
            BrokenProcessPool: a process has died; besides, what a call raised.
        """
        waiting = deque([self.submit(fn, *row) for row in zip(*columns, strict=True)])
        while waiting:
            yield self.result(waiting.popleft())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of the base class."""
        if self._broken:
            for process in list((self._processes or {}).values()):
                process.kill()
        super().shutdown(wait, cancel_futures=cancel_futures)
