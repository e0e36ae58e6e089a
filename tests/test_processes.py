"""Pools of worker processes whose processes die."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from wsss_mm import processes
from wsss_mm.processes import WorkerPool


@pytest.fixture
def before():
    """Children that are not of the test's pools."""
    return set(multiprocessing.active_children())


def until(condition, seconds=60.):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(.02)
    return condition()


def die(pool, future):
    """Kill the pool's first process, and let the pool notice."""
    os.kill(next(iter(pool._processes)), signal.SIGKILL)
    until(future.done, 3)   # from 3.12 on a pool breaks only when the submit at hand is over
    time.sleep(.3)


@pytest.mark.parametrize('moment', ['just started', 'not yet started'])
def test_a_process_that_dies_while_another_is_started_hangs_nothing(before, monkeypatch, moment):
    """CPython tells the processes that it knows of to end, then waits for all: also for one that came in between."""
    class Known(dict):
        def __setitem__(self, pid, process):
            if self and moment == 'just started':
                die(pool, first)
            super().__setitem__(pid, process)

    pool = WorkerPool(2)
    pool._processes = Known()
    start = pool._spawn_process

    def spawn():
        if pool._processes and moment == 'not yet started':
            die(pool, first)
        start()

    monkeypatch.setattr(pool, '_spawn_process', spawn)
    first = pool.submit(time.sleep, 600)
    try:
        second = pool.submit(os.getpid)
    except BrokenProcessPool:
        second = first
    for future in (first, second):
        assert pool.first([future]) and isinstance(future.exception(0), BrokenProcessPool)
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()
    assert until(lambda: set(multiprocessing.active_children()) <= before)


def test_futures_of_a_broken_pool_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(processes, '_LOOK', .1)
    with WorkerPool(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()
        running = pool.submit(os._exit, 1)
        assert pool.first([Future(), running]) == {running}
        assert pool.first([Future()]) == set()
        with pytest.raises(BrokenProcessPool):
            pool.result(Future())
        waiting = threading.Timer(.3, (late := Future()).set_result, ['late'])
        waiting.start()
        waiting.join()
        assert pool.result(late) == 'late'
        with pytest.raises(BrokenProcessPool):
            pool.submit(os.getpid)


def test_a_whole_pool_is_waited_for(monkeypatch):
    monkeypatch.setattr(processes, '_LOOK', .05)
    with WorkerPool(1) as pool:
        slow = pool.submit(time.sleep, .5)
        assert pool.first([slow]) == {slow} and slow.exception() is None


def test_results_come_in_order_and_a_death_ends_them():
    with WorkerPool(2) as pool:
        assert list(pool.in_order(divmod, [7, 8, 9], [2, 3, 4])) == [(3, 1), (2, 2), (2, 1)]
        results = pool.in_order(divmod, [7, 8], [2, 0])
        assert next(results) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            next(results)
        with pytest.raises(BrokenProcessPool):
            list(pool.in_order(os._exit, [1]))
