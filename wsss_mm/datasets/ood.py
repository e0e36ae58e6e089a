"""Out-of-distribution images: images without any of the classes, and a training set that comes with them."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_rank
from torch.utils.data import get_worker_info

from wsss_mm.datasets.label_readers import IMAGE_SUFFIXES, find_image, read_id_list
from wsss_mm.datasets.supervision import hash_order
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import DATASETS


@DATASETS.register_module()
class OoDImages(BaseDataset):
    """Images of a list, or of a folder, without labels.

    They are sorted by id, since W-OoD's clusters start from the first of them: the order of the list file has no
    influence.

    Args:
        ann_file: Id list below ``data_root``, one id a line, as ``tools/collect_ood.py`` exports; ``''`` takes every
            image of the folder.
        data_root: Folder that ``ann_file`` and ``data_prefix`` are relative to.
        data_prefix: ``dict(img_path=…)``, folder of the images: ``<id>``, or ``<id>.jpg``, ``.png``, ``.jpeg``.
        count: Use so many alone (Figure 4.5), the first by the hash of ``count_seed`` and id, so that smaller sets lie
            in larger ones; None for all.
        count_seed: Seed of that draw.
        kwargs: As in mmengine's ``BaseDataset``.

    Raises:
        DataError: no list, no image in it, or images that are not there.
        ConfigError: ``count`` below 1 or above the number of images.
    """

    def __init__(self, ann_file: str = '', data_root: str = '', data_prefix: dict | None = None,
                 count: int | None = None, count_seed: int = 0, **kwargs: Any) -> None:
        self.count, self.count_seed = count, count_seed
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=data_prefix or dict(img_path=''), **kwargs)

    def load_data_list(self) -> list[dict]:
        """One item per image: ``img_path``, ``img_id``."""
        folder = self.data_prefix['img_path']
        if not os.path.isdir(folder):
            raise DataError('no such folder of OoD images', file=folder, fix='docs/methods/wood.md says how to collect '
                            'OoD images; then correct data_root or data_prefix')
        ids = sorted(self._ids(folder))
        if self.count is not None:
            if not 1 <= self.count <= len(ids):
                raise ConfigError(f'count={self.count} of {len(ids)} OoD images', file=self.ann_file or folder,
                                  expected=f'1 … {len(ids)}')
            ids = sorted(hash_order(ids, self.count_seed)[:self.count])
        paths = {image_id: _path(folder, image_id) for image_id in ids}
        if missing := [image_id for image_id, path in paths.items() if path is None]:
            raise DataError(f'{len(missing)} of {len(ids)} OoD images are not there, such as {missing[0]!r}',
                            file=folder, expected=f'the images that {self.ann_file} lists',
                            fix='correct data_prefix=dict(img_path=…), or the list')
        return [dict(img_path=path, img_id=image_id, seg_fields=[]) for image_id, path in paths.items()]

    def _ids(self, folder: str) -> Sequence[str]:
        if self.ann_file:
            try:
                return read_id_list(self.ann_file)
            except DataError as error:
                raise DataError(error.problem.replace('the split', 'the list of OoD images'), file=self.ann_file,
                                expected=error.expected, fix='export it with tools/collect_ood.py, or name another '
                                'list; without OoD images train the plain classifier') from None
        names = [name for name in os.listdir(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
        if not names:
            raise DataError('no OoD image in this folder', file=folder, expected=' or '.join(IMAGE_SUFFIXES))
        return names


def _path(folder: str, image_id: str) -> str | None:
    try:
        return os.fspath(find_image(folder, image_id))
    except DataError:
        return None


@DATASETS.register_module()
class WithOoDImages:
    """Puts one OoD image into every sample of a training set: ``data_samples.ood_image``, uint8 BGR like ``inputs``.

    Every worker process runs through permutations of all OoD images without end, each from a seed of its own. So each
    image is used equally often, up to one use per worker and rank; any number fills any batch; and no image is twice in
    a batch where there are enough for it. The published loader runs through one permutation, drops what is left of
    the last batch and starts anew; with fewer images than a batch it never gives one.

    A sampler sees the wrapped dataset alone.

    Args:
        dataset: The training set, any of mm's.
        ood: :class:`OoDImages`, or any other dataset whose pipeline packs an image as ``inputs``.
        lazy_init: As in mmengine.

    Raises:
        DataError: no OoD images.
    """

    def __init__(self, dataset: dict | BaseDataset, ood: dict | BaseDataset, lazy_init: bool = False) -> None:
        self.dataset, self.ood = (DATASETS.build(part) if isinstance(part, dict) else part for part in (dataset, ood))
        self._rank = get_rank()
        self._seed: int | None = None
        self._random, self._order = random.Random(), list[int]()
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """Of the training set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read both lists."""
        self.dataset.full_init()
        self.ood.full_init()
        if not len(self.ood):
            raise DataError('the list of OoD images is empty', expected='one or more images',
                            fix='collect some (docs/methods/wood.md), or train the plain classifier')
        self._fully_initialized = True

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, idx: int) -> dict:
        """Of the training set."""
        return self.dataset.get_data_info(idx)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Of the training set."""
        return self.dataset.get_cat_ids(idx)

    def __getitem__(self, idx: int) -> Any:
        if not self._fully_initialized:
            self.full_init()
        data = self.dataset[idx]
        image = self.ood[self._draw()]['inputs']
        if image.dtype != torch.uint8:
            raise ConfigError(f'the pipeline of `ood` gives {image.dtype}', expected='torch.uint8, not normalised')
        data['data_samples'].set_data(dict(ood_image=image))
        return data

    def _draw(self) -> int:
        """The next OoD image of this process."""
        worker = get_worker_info()
        # A worker's own seed, which is another in every epoch; the one that mmengine sets is not.
        seed = torch.initial_seed() if worker is None else worker.seed
        if seed != self._seed:
            self._seed, self._random, self._order = seed, random.Random(f'{seed} {self._rank}'), []
        if not self._order:
            self._order = self._random.sample(range(len(self.ood)), len(self.ood))
        return self._order.pop()
