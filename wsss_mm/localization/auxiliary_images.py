"""Other images that an image's adaptation is steadied by, drawn and loaded per image."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from wsss_mm.errors import ConfigError, WSSSError
from wsss_mm.models.heads.base import stack_tags
from wsss_mm.registry import DATASETS


class AuxiliaryImages:
    """Batches of images that share no class with a given one.

    What is drawn, and how it is augmented, depends on ``seed``, the image's id and the draw's number alone: not on
    order, shards, resuming or the number of workers. No image is drawn twice before all of the pool have been. Where
    the pool is smaller than a batch, batches are as large as the pool; where it is smaller than all of them together,
    it begins again (the published code then stops early, or crashes). An empty pool gives no batches.

    The data set is built at first use and not sent to other processes, of which there may be ``num_workers`` to load
    images; they stay for the next image.

    Args:
        dataset: Config of a data set with tags and a training pipeline; None for no other images.
        batch_size: Images of a batch.
        disjoint: False takes any image but the given one, as the paper's text says.
        seed: Of the draws.
        num_workers: Processes that load; 0 loads in this one.
    """

    def __init__(self, dataset: dict | None, batch_size: int = 20, disjoint: bool = True, seed: int = 0,
                 num_workers: int = 2) -> None:
        self.config, self.batch_size, self.disjoint = dataset, batch_size, disjoint
        self.seed, self.num_workers = seed, num_workers
        self._dataset: Any = None
        self._call = 0

    def __getstate__(self) -> dict[str, Any]:
        kept = ('config', 'batch_size', 'disjoint', 'seed', 'num_workers')
        return {**{name: getattr(self, name) for name in kept}, '_dataset': None, '_call': 0}

    def draw(self, image_id: str, tags: Tensor, batches: int) -> np.ndarray:
        """Numbers of images in the data set.

        The pool is one product of the tag matrix and the image's tags: N·C operations on bits, where the published
        code reads N labels in Python, twice.

        Args:
            image_id: The image.
            tags: ``(C,)`` bool, its classes.
            batches: How many batches.

        Returns:
            ``(batches, min(batch_size, pool))`` int64.

        Raises:
            ConfigError: a data set without tags, or of other classes.
        """
        if self.config is None or self.batch_size < 1:
            return np.zeros((batches, 0), np.int64)
        self._open(len(tags))
        others = self._ids != image_id
        if self.disjoint:
            others &= ~(self._tags @ tags.cpu().numpy().astype(bool))
        pool = np.flatnonzero(others)
        # Raw words of the generator: numpy may change what `permutation` makes of them.
        order = pool[np.argsort(np.random.PCG64(_number(self.seed, image_id)).random_raw(len(pool)), kind='stable')]
        size = min(self.batch_size, len(pool))
        return np.resize(order, (batches, size)) if size else np.zeros((batches, 0), np.int64)

    def batches(self, model: Any, image_id: str, tags: Tensor, batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Network inputs and tags of each batch; loading begins with the call.

        Only one image's batches can be under way where there are worker processes.

        Args:
            model: The classifier, whose data preprocessor normalises.
            image_id, tags, batches: As of :meth:`draw`.

        Returns:
            An iterator of ``(B, 3, H, W)`` and ``(B, C)`` float32; of nothing where no image can be drawn.

        Raises:
            ConfigError: as :meth:`draw`.
            DataError: an image that cannot be read.
        """
        drawn = self.draw(image_id, tags, batches)
        if not drawn.size:
            return iter(())
        self._call += 1
        self._requests.items = [(int(index), _number(self.seed, image_id, number))
                                for number, index in enumerate(drawn.ravel())]
        return self._prepared(model, iter(self._loader), drawn.shape[1], self._call)

    def _prepared(self, model: Any, items: Iterator[Any], size: int, call: int) -> Iterator[tuple[Tensor, Tensor]]:
        batch: list[dict] = []
        while True:
            if self.num_workers and call != self._call:
                raise WSSSError('the batches of one image were asked for after those of another',
                                expected='one image after the other', fix='set num_workers=0')
            item = next(items, None)
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            batch.append(item)
            if len(batch) == size:
                ready = model.data_preprocessor({key: [x[key] for x in batch] for key in ('inputs', 'data_samples')},
                                                True)
                yield ready['inputs'], stack_tags(ready['data_samples'], ready['inputs'])
                batch = []

    def _open(self, num_classes: int) -> None:
        if self._dataset is not None:
            return
        dataset = DATASETS.build(self.config)
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        self._ids = np.array([str(info['img_id']) for info in infos])
        self._tags = np.zeros((len(infos), num_classes), bool)
        for row, info in zip(self._tags, infos, strict=True):
            labels = info.get('img_labels')
            if labels is None or max(labels, default=0) >= num_classes:
                raise ConfigError(f'auxiliary image {info["img_id"]!r} has the classes {labels}',
                                  expected=f'classes from 0 to {num_classes - 1}, those of the classifier',
                                  fix='give the data set that the classifier was trained on, with its tags')
            row[labels] = True
        self._requests = _Requests()
        workers: dict[str, Any] = {}
        if self.num_workers:
            # Two batches ahead: what is loaded in vain where an image stops early is waited for.
            workers = dict(prefetch_factor=-(-2 * self.batch_size // self.num_workers), persistent_workers=True,
                           multiprocessing_context='spawn', worker_init_fn=_start_worker)
        items: Any = _SeededItems(dataset)
        self._loader: DataLoader = DataLoader(
            items, batch_size=None, sampler=self._requests, num_workers=self.num_workers, collate_fn=_as_it_is,
            generator=torch.Generator(), **workers)
        self._dataset = dataset


class _Requests:
    """What the loader is to load, another list for each image."""

    def __init__(self) -> None:
        self.items: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.items)


class _SeededItems:
    """A data set whose items are asked for by ``(index, seed)``."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, request: tuple[int, int]) -> Any:
        index, number = request
        try:
            with seeded(number):
                return self.dataset[index]
        except WSSSError as error:   # the loader would turn it into a text
            return error


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """Random numbers of Python, numpy and torch (CPU) from a seed; their states are put back on leaving."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(number)
        np.random.seed(number % 2 ** 32)
        torch.default_generator.manual_seed(number % 2 ** 63)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _number(*parts: Any) -> int:
    """A number of 64 bits, the same for the same parts everywhere."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], 'big')


def _as_it_is(item: Any) -> Any:
    return item


def _start_worker(_: int) -> None:
    import cv2
    cv2.setNumThreads(0)
