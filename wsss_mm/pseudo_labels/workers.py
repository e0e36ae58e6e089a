"""Worker processes of a labelling run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss_mm.errors import WSSSError, describe_error
from wsss_mm.files import label_png
from wsss_mm.processes import WorkerPool, start_worker
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.run_folder import unwritable, write_files

# What a worker needs for every image; set once when it starts.
_job: dict[str, Any] = {}
_TOO_MANY = 3


class LabelWorkers:
    """Runs ``generator.label`` and writes its files, in processes of one thread each.

    At most ``2 * num_workers + 2`` images are under way, so the network's process waits rather than fill the memory.
    Where a process dies, the images under way are labelled again, one by one; the one at which another dies has failed.
    With ``num_workers=0`` everything runs in this process, on one thread too, so the files are the same.

    Args:
        generator: Its ``label`` part is used here.
        constants: Tensors every image needs.
        palette: RGB per class for the PNGs.
        root: The run's folder.
        owner: Marks this run's temporary files.
        num_workers: Number of processes.
    """

    def __init__(self, generator: LabelGenerator, constants: dict[str, torch.Tensor], palette: list, root: Path,
                 owner: str | int, num_workers: int) -> None:
        self._setup = (generator, _arrays(constants), palette, root, owner)
        self._num_workers, self._limit = num_workers, 2 * num_workers + 2
        self._pool: WorkerPool | None = None
        self._deaths = 0   # one after the other
        self._threads = torch.get_num_threads()
        self._start()

    def _start(self) -> None:
        if self._num_workers:
            self._pool = WorkerPool(self._num_workers, _start_worker, self._setup)

    def __enter__(self) -> LabelWorkers:
        return self

    def __exit__(self, *_: Any) -> None:
        torch.set_num_threads(self._threads)
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, samples: Iterable[tuple[str, Any, Any, str | None]]
            ) -> Iterator[tuple[str, dict[str, str], list[str], str | None]]:
        """Yield ``(id, file hashes, notes, error)`` per sample, as they are finished."""
        if self._pool is None:
            _job.update(zip(('generator', 'constants', 'palette', 'root', 'owner'), self._setup, strict=True))
            for image_id, sample, features, error in samples:
                yield (image_id, {}, [], error) if error else self._inline(image_id, sample, features)
            return
        running: dict[Future, tuple] = {}
        for image_id, sample, features, error in samples:
            if error:
                yield image_id, {}, [], error
                continue
            yield from self._submit(running, (image_id, sample, _arrays(features)))
            # What is done goes into the manifest at once; only a full queue makes the network wait.
            yield from self._finished(running, wait_for_one=len(running) >= self._limit)
        while running:
            yield from self._finished(running)

    def _submit(self, running: dict[Future, tuple], job: tuple) -> Iterator[tuple]:
        try:
            running[self._send(job)] = job
        except BrokenProcessPool:   # before this image; those under way come first
            yield from self._one_by_one(running)
            running[self._send(job)] = job

    def _send(self, job: tuple) -> Future:
        assert self._pool is not None
        return self._pool.submit(_label, *job)

    def _finished(self, running: dict[Future, tuple], wait_for_one: bool = True) -> Iterator[tuple]:
        assert self._pool is not None
        done = self._pool.first(running) if wait_for_one else wait(running, 0).done
        if wait_for_one and not done:
            yield from self._one_by_one(running)
        for future in done:
            try:
                found = future.result()
            except BrokenProcessPool:
                yield from self._one_by_one(running)
                return
            del running[future]
            self._deaths = 0
            yield found

    def _one_by_one(self, running: dict[Future, tuple]) -> Iterator[tuple]:
        """A process has died, and its pool with it: start another, and find the image that kills."""
        jobs, found = list(running.values()), [f for f in running if f.done() and f.exception() is None]
        done = {running[f][0]: f.result() for f in found}
        running.clear()
        self._restart()
        for job in jobs:
            if job[0] in done:
                yield done[job[0]]
                continue
            try:
                result = self._alone(job)
                self._deaths = 0
            except BrokenProcessPool:
                self._deaths += 1
                if self._deaths == _TOO_MANY:
                    raise WSSSError(
                        f'labelling processes died at {_TOO_MANY} images one after the other, each alone (killed, or '
                        'out of memory)', file=self._setup[3], fix='run the same command again: finished images are '
                        'kept; with little memory set pseudo_labels.num_workers lower') from None
                self._restart()
                result = job[0], {}, [], ('the process that labelled it died twice, the second time with no other '
                                          'image under way (killed, or out of memory)')
            yield result

    def _alone(self, job: tuple) -> tuple:
        assert self._pool is not None
        return self._pool.result(self._send(job))

    def _restart(self) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._start()

    def _inline(self, image_id: str, sample: Any, features: Any) -> tuple:
        torch.set_num_threads(1)
        try:
            return _label(image_id, sample, _arrays(features))
        finally:
            torch.set_num_threads(self._threads)


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    # Pickling drops other memory formats, and sums round differently along other strides: so none gets them.
    return {k: np.ascontiguousarray(v.numpy()) for k, v in tensors.items()}


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    # Copied: numpy and pickle align memory in ways of their own, which vectorised sums may round by.
    return {k: torch.from_numpy(v).clone() for k, v in arrays.items()}


def _start_worker(generator: LabelGenerator, constants: dict, palette: list, root: Path, owner: str | int) -> None:
    start_worker()
    import cv2
    cv2.setNumThreads(0)
    _job.update(generator=generator, constants=constants, palette=palette, root=root, owner=owner)


def _label(image_id: str, sample: Any, features: dict) -> tuple[str, dict[str, str], list[str], str | None]:
    try:
        result = _job['generator'].label(sample, _tensors(features), _tensors(_job['constants']))
        content = {f'{name}/{image_id}.png': label_png(label, _job['palette'])
                   for name, label in result.labels.items()}
        if result.maps is not None:
            content[f'maps/{image_id}.npz'] = result.maps.to_bytes()
        content.update(result.files)
    except Exception as error:
        return image_id, {}, [], describe_error(error)
    try:
        return image_id, write_files(_job['root'], content, _job['owner']), result.notes, None
    except OSError as error:   # a full or read-only disk concerns the run, not the image
        raise unwritable(_job['root'], f'the labels of {image_id}', error) from None
