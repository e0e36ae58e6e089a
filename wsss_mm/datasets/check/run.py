"""The check itself: every image once, in this process or in several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from wsss_mm.datasets.check.image import ImageFacts, ImageJob, look_at
from wsss_mm.datasets.check.layouts import Layout
from wsss_mm.datasets.check.report import CheckReport, Collector
from wsss_mm.errors import WSSSError
from wsss_mm.processes import WorkerPool

_CHUNK = 16


def check_data(layout: Layout, workers: int = 0, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Look at every image of a data set and its labels.

    Images are read one after another and forgotten; sizes and 48 bytes of hashes are kept of each.

    Args:
        layout: What to check.
        workers: Processes; 0 for this one.
        progress: Called with (done, total) after each image.

    Raises:
        WSSSError: a process died.
    """
    ids = layout.ids()
    collector = Collector(layout, ids)
    jobs = map(layout.job, ids)
    facts = (look_at(job, layout.classes) for job in jobs) if not workers or len(ids) < 2 * _CHUNK else \
        _in_processes(jobs, layout.classes, workers)
    for done, found in enumerate(facts, 1):
        collector.add(found)
        if progress:
            progress(done, len(ids))
    return collector.finish()


def _in_processes(jobs: Iterable[ImageJob], classes: Sequence[str], workers: int) -> Iterator[ImageFacts]:
    """Facts in the order of the jobs; few are under way at a time, so that memory stays flat."""
    jobs = iter(jobs)
    running: deque[Future] = deque()
    with WorkerPool(workers) as pool:
        try:
            while True:
                while len(running) < 3 * workers and (chunk := list(islice(jobs, _CHUNK))):
                    running.append(pool.submit(_look_at_all, chunk, classes))
                if not running:
                    return
                yield from pool.result(running.popleft())
        except BrokenProcessPool:
            raise WSSSError('a checking process died (killed, or out of memory)',
                            fix='run it again with fewer --workers') from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _look_at_all(jobs: Sequence[ImageJob], classes: Sequence[str]) -> list[ImageFacts]:
    return [look_at(job, classes) for job in jobs]
