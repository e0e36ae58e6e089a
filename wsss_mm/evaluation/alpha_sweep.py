"""Class maps against ground truth with the background score ``(1 - max_k A_k)^alpha``, at many alphas, and a CRF."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch

from wsss_mm.datasets.label_readers import find_image, read_image
from wsss_mm.errors import ConfigError, DataError, WSSSError
from wsss_mm.evaluation.confusion import ConfusionMatrix
from wsss_mm.evaluation.files import read_scored_map
from wsss_mm.localization import best_class
from wsss_mm.processes import WorkerPool
from wsss_mm.pseudo_labels.class_map_labels import background_scores
from wsss_mm.refinement import DenseCRF
from wsss_mm.structures import ClassMaps


class AlphaSweep:
    """Scores at every alpha, without a CRF and, where there is one, with it.

    Args:
        alphas: The powers.
        counts: ``(rows, alphas, C, C + 1)`` int64 counts of pixels as of :class:`ConfusionMatrix`; the first row
            without a CRF, the second, where it is there, with it.
    """

    def __init__(self, alphas: Sequence[float], counts: np.ndarray) -> None:
        self.alphas, self.counts = tuple(alphas), counts
        self.names = ('maps', 'CRF')[:len(counts)]

    def miou(self) -> dict[str, list[float]]:
        """mIoU in percent at every alpha, by ``'maps'`` and ``'CRF'``; NaN where nothing was counted."""
        def score(counts: np.ndarray) -> float:
            matrix = ConfusionMatrix(counts.shape[0])
            matrix.counts = counts
            return 100 * matrix.miou()
        return {name: [score(counts) for counts in row] for name, row in zip(self.names, self.counts, strict=True)}

    def best(self) -> dict[str, float]:
        """The alpha of the highest mIoU, the lowest of equals, by ``'maps'`` and ``'CRF'``."""
        return {name: self.alphas[int(np.nanargmax(line))] for name, line in self.miou().items()}

    def table(self) -> str:
        """A Markdown table, the best of each column marked with a star."""
        scores, best = self.miou(), self.best()
        lines = [f'| alpha | {" | ".join(f"{name:>6}" for name in scores)} |',
                 f'|------:|{"|".join("-------:" for _ in scores)}|']
        for i, alpha in enumerate(self.alphas):
            cells = [f'{line[i]:.2f}{"*" if best[name] == alpha else " "}' for name, line in scores.items()]
            lines.append(f'| {alpha:5g} | {" | ".join(cells)} |')
        return '\n'.join(lines)

    def csv(self) -> str:
        """``alpha`` and a column of mIoU in percent for each row of the sweep."""
        scores = self.miou()
        lines = [','.join(['alpha', *(f'miou_{name.lower()}' for name in scores)])]
        lines += [','.join([f'{alpha:g}', *(f'{line[i]:.4f}' for line in scores.values())])
                  for i, alpha in enumerate(self.alphas)]
        return '\n'.join(lines) + '\n'


def sweep_image(maps: ClassMaps, truth: np.ndarray, num_classes: int, alphas: Sequence[float],
                image: np.ndarray | None = None, crf: DenseCRF | None = None) -> np.ndarray:
    """Count one image at every alpha.

    The CRF's lattices depend on the image alone and are built once. Naive: a CRF from scratch for each alpha, 1.2 to
    1.8 times as long (``benchmarks/results/alpha_sweep.md``); the updates of each alpha remain.

    Args:
        maps: Of the classes present, in [0, 1]; enlarged bilinearly where smaller than the image.
        truth: ``(H, W)`` segmentation ids, 255 ignored.
        num_classes: C, with the background.
        alphas: The powers.
        image: ``(H, W, 3)`` uint8 RGB, for the CRF.
        crf: None counts without one alone.

    Returns:
        ``(1 or 2, alphas, C, C + 1)`` int64.
    """
    full = maps.full_size()
    ids, stack = np.concatenate([[0], full.class_ids]).astype(np.uint8), torch.from_numpy(full.maps)
    counts = np.zeros((1 if crf is None else 2, len(alphas), num_classes, num_classes + 1), np.int64)
    prepared = None if crf is None or image is None or not len(stack) else crf.prepare(image)
    for i, alpha in enumerate(alphas):
        if not len(stack):
            counts[:, i] = ConfusionMatrix(num_classes).update(np.zeros_like(truth, np.uint8), truth).counts
            continue
        scores = torch.cat([background_scores(stack, background='power', alpha=alpha)[None], stack])
        rows = [scores] if prepared is None else [scores, torch.from_numpy(prepared.refine(scores))]
        for row, found in enumerate(rows):
            labels = ids[best_class(found).numpy()]
            counts[row, i] = ConfusionMatrix(num_classes).update(labels, truth).counts
    return counts


def sweep_alphas(map_dir: str | Path, truth_dir: str | Path, ids: Sequence[str], classes: Sequence[str],
                 alphas: Sequence[float], *, crf: DenseCRF | None = None, image_dir: str | Path | None = None,
                 num_workers: int = 0, progress: Callable[[], None] | None = None) -> AlphaSweep:
    """The sweep over a folder of :class:`~wsss_mm.structures.ClassMaps`.

    Counts are integers, so the number of processes changes nothing.

    Args:
        map_dir: Folder of ``<image id>.npz``.
        truth_dir: Folder of ``<image id>.png``.
        ids: Image ids.
        classes: Names, background first.
        alphas: The powers, each above 0.
        crf: The CRF for the second row; None leaves it out.
        image_dir: Folder of the images, for the CRF.
        num_workers: Processes of one thread each; 0 counts in this one.
        progress: Called after each image.

    Raises:
        ConfigError: no alpha, one that is not above 0, or a CRF without images.
        DataError: a file that is missing or unreadable, sizes that differ, ids outside the classes; no id at all.
        WSSSError: a process died.
    """
    if not alphas or not all(alpha > 0 for alpha in alphas):
        raise ConfigError(f'alphas {list(alphas)}', expected='one or more powers above 0')
    if crf is not None and image_dir is None:
        raise ConfigError('a CRF looks at the images', fix='name their folder (--images), or leave the CRF out')
    if not ids:
        raise DataError('no image ids to score', file=map_dir, expected='at least one')
    count = functools.partial(_sweep_files, Path(map_dir), Path(truth_dir), len(classes), tuple(alphas),
                              None if image_dir is None else Path(image_dir), crf)
    total: np.ndarray | int = 0
    for counts in _each(count, ids, num_workers):
        total = total + counts
        if progress:
            progress()
    assert isinstance(total, np.ndarray)
    return AlphaSweep(alphas, total)


def _each(count: Callable[[str], np.ndarray], ids: Sequence[str], num_workers: int) -> Iterator[np.ndarray]:
    if not num_workers:
        yield from map(count, ids)
        return
    with WorkerPool(num_workers) as pool:
        try:
            yield from pool.in_order(count, ids)
        except BrokenProcessPool:
            raise WSSSError('a process of the sweep died (killed, or out of memory)',
                            fix='run it again with fewer --num-workers') from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _sweep_files(map_dir: Path, truth_dir: Path, num_classes: int, alphas: Sequence[float], image_dir: Path | None,
                 crf: DenseCRF | None, image_id: str) -> np.ndarray:
    """:func:`sweep_image` of files."""
    path = map_dir / f'{image_id}.npz'
    if not path.is_file():
        raise DataError('no class maps of this image', file=path,
                        fix='finish the run that saves them (save_maps=True), or score another list of ids')
    maps = ClassMaps.load(path)
    if len(maps.class_ids) and not 0 < maps.class_ids.min() <= maps.class_ids.max() < num_classes:
        raise DataError(f'class ids {maps.class_ids.tolist()}', file=path, expected=f'1…{num_classes - 1}',
                        fix='check that maps and class set belong together')
    truth = read_scored_map(truth_dir / f'{image_id}.png', num_classes, (maps.height, maps.width))
    image = None if crf is None or image_dir is None else read_image(find_image(image_dir, image_id))
    return sweep_image(maps, truth, num_classes, alphas, image, crf)
