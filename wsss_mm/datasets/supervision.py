"""Extra supervision: which images have masks or boxes besides their tags, and batches that hold some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler

from wsss_mm.datasets.label_readers import read_id_list
from wsss_mm.errors import ConfigError
from wsss_mm.registry import DATA_SAMPLERS


def hash_order(ids: Iterable[str], seed: int = 0) -> list[str]:
    """Ids by the hash of seed and id: random, but for one seed smaller draws lie in larger ones, on any platform."""
    return sorted(ids, key=lambda image_id: hashlib.sha256(f'{seed} {image_id}'.encode()).digest())


def draw_supervision(ids: Sequence[str], mask_count: int, box_count: int, seed: int = 0) -> dict[str, str]:
    """Draw the images with extra supervision (GAIN, section 3.3: 200, 400, … of VOC's 1,464 train images).

    In :func:`hash_order`, the first ``mask_count`` have masks, the next ``box_count`` boxes.

    Args:
        ids: The images to draw from.
        mask_count, box_count: How many.
        seed: Names the order.

    Returns:
        ``'masks'`` or ``'boxes'`` for each drawn image.

    Raises:
        ConfigError: negative counts, or more than there are images.
    """
    if mask_count < 0 or box_count < 0:
        raise ConfigError(f'mask_count is {mask_count}, box_count is {box_count}', expected='0 or more')
    if mask_count + box_count > len(ids):
        raise ConfigError(f'mask_count {mask_count} and box_count {box_count} make {mask_count + box_count} images',
                          expected=f'at most the {len(ids)} of the list that are in extra_ann_file as well')
    kinds = ['masks'] * mask_count + ['boxes'] * box_count
    return dict(zip(hash_order(ids, seed), kinds, strict=False))


def check_supervision(files: Mapping[str, str], drawn: bool) -> None:
    """Refuse lists of other kinds, and lists beside a draw.

    Args:
        files: Id list by kind.
        drawn: Extra supervision is drawn as well.

    Raises:
        ConfigError: see above.
    """
    if strange := sorted(files.keys() - {'masks', 'boxes'}):
        raise ConfigError(f'supervision_files has the kinds {strange}',
                          expected="'masks' and 'boxes'; all other images have tags")
    if files and drawn:
        raise ConfigError('supervision_files together with mask_count or box_count',
                          expected='lists of the images with masks and boxes, or a draw of so many')


def listed_supervision(ids: Iterable[str], files: Mapping[str, str]) -> dict[str, str]:
    """The images of a dataset that the lists name; one that both name has its mask.

    Args:
        ids: The dataset's images; others are passed over.
        files: Id list by kind, ``'masks'`` and ``'boxes'``.

    Returns:
        ``'masks'`` or ``'boxes'`` for each image named.

    Raises:
        DataError: a list that cannot be read, or is empty.
    """
    known = set(ids)
    return {image_id: kind for kind in ('boxes', 'masks') if kind in files
            for image_id in read_id_list(files[kind]) if image_id in known}


@DATA_SAMPLERS.register_module()
class MixedSupervisionSampler(InfiniteSampler):
    """Batches that each hold some images with extra supervision.

    Every ``batch_size`` consecutive indices are images out of all, then ``extra_per_batch`` out of those whose data
    info says ``supervision`` ``'masks'`` or ``'boxes'``. Both streams run through permutations of their own without
    end, so any number of images fills any batch. Whole batches are dealt out to the ranks. The order follows from the
    seed alone; a resumed training walks to its place, as with mmengine's ``InfiniteSampler``.

    Args:
        dataset: A dataset with ``get_data_info``.
        batch_size: As of the data loader.
        extra_per_batch: Images with extra supervision in each batch.
        shuffle: Permute; else both streams run in the dataset's order.
        seed: Drawn and shared among the ranks if None.

    Raises:
        ConfigError: ``extra_per_batch`` outside 0…``batch_size``, or no image with extra supervision.
    """

    def __init__(self, dataset: Any, batch_size: int, extra_per_batch: int, shuffle: bool = True,
                 seed: int | None = None) -> None:
        if not 0 <= extra_per_batch <= batch_size or batch_size < 1:
            raise ConfigError(f'extra_per_batch is {extra_per_batch} at a batch size of {batch_size}',
                              expected='0 … batch_size')
        infos = (dataset.get_data_info(i) for i in range(len(dataset)))
        self.extra = [i for i, info in enumerate(infos) if info.get('supervision', 'tags') != 'tags']
        if extra_per_batch and not self.extra:
            raise ConfigError(f'extra_per_batch is {extra_per_batch}, but no image has extra supervision',
                              expected='mask_count or box_count above 0 in the dataset, or '
                              'supervision_files that name some')
        self.batch_size, self.extra_per_batch = batch_size, extra_per_batch
        super().__init__(dataset, shuffle, seed)

    def _indices_of_rank(self) -> Iterator[int]:
        for batch in islice(self._batches(), self.rank, None, self.world_size):
            yield from batch

    def _batches(self) -> Iterator[list[int]]:
        everything = self._stream(range(self.size), self.seed)
        extra = self._stream(self.extra, self.seed + 1)
        while True:
            yield [*islice(everything, self.batch_size - self.extra_per_batch), *islice(extra, self.extra_per_batch)]

    def _stream(self, indices: Sequence[int], seed: int) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(seed)
        while indices:
            order = torch.randperm(len(indices), generator=generator).tolist() if self.shuffle else range(len(indices))
            yield from (indices[i] for i in order)
