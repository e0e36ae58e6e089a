"""What a sample run of a stage has besides the stage's own parts: a clock in the training, an end for the labelling."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from wsss_mm.errors import WSSSError
from wsss_mm.registry import DATASETS, HOOKS

# How long a labelling sample takes images once the first is labelled, in seconds, and its folder. Not settings of the
# dataset, since settings decide labels.
SECONDS, FOLDER = 'WSSS_MM_SAMPLE_SECONDS', 'WSSS_MM_SAMPLE_FOLDER'


@DATASETS.register_module()
class ImagesUntilDeadline:
    """A dataset whose images fail once the time of a sample is over; it starts when a first image is labelled.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: dict) -> None:
        self.dataset = DATASETS.build(dataset)
        self._seconds, self._folder = float(os.environ.get(SECONDS, 'inf')), Path(os.environ.get(FOLDER, '.'))
        self._deadline: float | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':   # asked for while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def prepare_data(self, idx: int) -> Any:
        """An image through the pipeline.

        Raises:
            WSSSError: the time is over.
        """
        now = time.monotonic()
        if self._deadline is None and any(self._folder.glob('*/*')):
            self._deadline = now + self._seconds
        if self._deadline is not None and now > self._deadline:
            raise WSSSError('the time of the sample is over')
        return self.dataset.prepare_data(idx)

    __getitem__ = prepare_data


class _Over(Exception):
    """The time of a validation's sample is over."""


@HOOKS.register_module()
class SampleClockHook(Hook):
    """Times some iterations of a training, a validation and a checkpoint, and writes them down as they come.

    Lines of JSON, each flushed, so that a killed training leaves what it had: ``event`` and ``seconds``, or ``time``
    of the clock. The untrained weights are left as ``final.pth`` for the stages after this one.

    Args:
        out: The file.
        seconds: How long iterations are begun, from the first on; as long again for what comes after them.
        iterations: Most iterations.
    """

    priority = 'VERY_HIGH'

    def __init__(self, out: str, seconds: float, iterations: int = 40) -> None:
        self.out, self.seconds, self.iterations = Path(out), seconds, iterations
        self._until = 0.
        self._validating = False
        self._start = self._last = 0.

    def _say(self, event: str, **values: Any) -> None:
        with open(self.out, 'a') as stream:
            stream.write(json.dumps(dict(event=event, **values)) + '\n')

    def before_train(self, runner: Runner) -> None:
        """Leave the weights; what other hooks do before the first iteration is timed from here."""
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path = Path(runner.work_dir) / 'final.pth'
        torch.save(dict(state_dict={k: v.detach().cpu() for k, v in model.state_dict().items()}), path)
        self._say('weights', size=path.stat().st_size)
        self._start = time.time()

    def before_train_epoch(self, runner: Runner) -> None:
        """The other hooks are done; the first batch is waited for."""
        self._last = time.time()
        self._until = self._last + self.seconds
        self._say('before_train', seconds=self._last - self._start)
        self._say('begun', time=self._last)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The batch is there."""
        self._start = time.time()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """One iteration; the last one where the time is over."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.time()
        self._say('iteration', seconds=now - self._last, step=now - self._start)
        self._last = now
        if now > self._until or batch_idx + 1 >= self.iterations:
            runner.train_loop.stop_training = True   # type: ignore[attr-defined]

    def after_train_epoch(self, runner: Runner) -> None:
        """What other hooks do after the last iteration is timed from here."""
        self._start = time.time()

    def after_run(self, runner: Runner) -> None:
        """Load images, save a checkpoint, validate: each alone."""
        self._say('after_train', seconds=time.time() - self._start)
        self._until = time.time() + self.seconds
        self._load(runner.train_dataloader.dataset)
        start = time.time()
        runner.save_checkpoint(runner.work_dir, 'sample.pth', save_optimizer=True, save_param_scheduler=True)
        self._say('checkpoint', seconds=time.time() - start,
                  size=(Path(runner.work_dir) / 'sample.pth').stat().st_size)
        if runner.val_loop is not None:
            self._validating, self._start = True, time.time()
            self._last = self._start
            try:
                runner.val_loop.run()
                self._say('validation', seconds=time.time() - self._start)
            except _Over:
                pass
        if torch.cuda.is_available():
            self._say('gpu', size=torch.cuda.max_memory_reserved())

    def _load(self, dataset: Any) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)   # as a worker of the data loader
        try:
            for i in range(min(len(dataset), 8)):
                start = time.time()
                dataset[i]
                self._say('loaded', seconds=time.time() - start)
                if time.time() > self._until:
                    break
        finally:
            torch.set_num_threads(threads)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                       outputs: Sequence | None = None) -> None:
        """One image or batch of the validation."""
        if not self._validating:
            return
        now = time.time()
        self._say('validated', seconds=now - self._last, images=len(outputs or ()) or 1)
        self._last = now
        if now > self._until:
            raise _Over
