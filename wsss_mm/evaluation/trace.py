"""Scores of class maps over the steps of a localizer that works in steps, as AdvCAM's climb or RIB's adaptation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.evaluation.files import read_scored_map
from wsss_mm.evaluation.threshold_curve import ThresholdCurve
from wsss_mm.localization import ImageLocalizer
from wsss_mm.pseudo_labels.run import image_sample
from wsss_mm.structures import ClassMaps, ImageSample


def images_with_truth(dataset: Any, truth_dir: str | Path, count: int | None = None) -> list[int]:
    """Numbers of a data set's first ``count`` images for which there is a ground-truth PNG.

    Args:
        dataset: Whose infos have ``img_id``.
        truth_dir: Folder of ``<image id>.png``.
        count: Default: all of them.

    Raises:
        DataError: there is none.
    """
    ids = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
    found = [i for i, image_id in enumerate(ids) if (Path(truth_dir) / f'{image_id}.png').is_file()]
    if not found:
        raise DataError(f'no ground truth of the {len(ids)} listed images', file=truth_dir,
                        expected=f'<image id>.png, such as {ids[0]}.png' if ids else 'a list of images',
                        fix='name its folder (--truth), or a list of images that have it (--split)')
    return found[:count]


def read_samples(dataset: Any, numbers: Iterable[int]) -> Iterator[tuple[ImageSample, Tensor]]:
    """Images of a data set with a labelling pipeline, and their tags ``(C,)`` bool.

    Raises:
        ConfigError: samples without tags.
        DataError: an image that cannot be read.
    """
    for i in numbers:
        data = dataset.prepare_data(i)
        if 'gt_label' not in data['data_samples']:
            raise ConfigError('a sample has no `gt_label`', expected='multi-hot image tags (C,)',
                              fix='put LoadWeakLabels into the pipeline of pseudo_labels.dataset')
        yield image_sample(dataset.get_data_info(i)['img_id'], data), data['data_samples'].gt_label > 0


@torch.no_grad()
def trace_scores(localizer: ImageLocalizer, model: Any, samples: Iterable[tuple[ImageSample, Tensor]],
                 truth_dir: str | Path, num_classes: int, *, thresholds: Sequence[float] | None = None,
                 progress: Callable[[], None] | None = None) -> list[ThresholdCurve]:
    """Count every image's class maps after each step; an image that stops early keeps its last ones.

    The steps of an image come out of one run (:meth:`ImageLocalizer.trace`): S steps cost S merges beside it, where
    S labellings would cost S (S + 1) / 2 steps. Memory is one image's maps and S curves.

    Args:
        localizer: Its ``trace`` is run, image by image.
        model: The classifier, in eval mode.
        samples: As of :func:`read_samples`.
        truth_dir: Folder of ``<image id>.png``.
        num_classes: With background.
        thresholds: As of :class:`ThresholdCurve`.
        progress: Called after each image.

    Returns:
        One curve per step of the longest run.

    Raises:
        DataError: a truth that is unreadable, of another size than its image, or with strange ids; no pixel to score;
            a class map with NaN.
    """
    curves: list[ThresholdCurve] = []
    before = ThresholdCurve(num_classes, thresholds)      # the images so far, at their last steps
    for sample, tags in samples:
        truth = read_scored_map(Path(truth_dir) / f'{sample.image_id}.png', num_classes,
                                (sample.height, sample.width))
        step, pixels = 0, np.zeros((2, 0), np.int64)
        for raw in localizer.trace(model, sample.image, tags, sample.image_id):
            maps = ClassMaps(sample.image_id, sample.tags, localizer.merge(raw, sample.height, sample.width).numpy(),
                             sample.height, sample.width).full_size()
            if step == len(curves):
                curves.append(copy.deepcopy(before))
            try:
                pixels = before.count(maps.maps, maps.class_ids, truth)
            except ValueError as error:
                raise DataError(f'class maps after step {step + 1}: {error}', file=sample.image_id,
                                fix='check that the classes of model and data set are the same, and the step sizes'
                                ) from None
            curves[step].add(pixels)
            step += 1
        for curve in curves[step:]:
            curve.add(pixels)
        before.add(pixels)
        if progress:
            progress()
    if not before.counts.any():
        raise DataError('the ground truth of these images is ignored everywhere', file=truth_dir)
    return curves


def step_rows(curves: Sequence[ThresholdCurve]) -> list[dict[str, float]]:
    """A row per step, scores in percent, at the threshold of the step's highest mIoU.

    That threshold is chosen with the truth that it is scored on, as curves over steps are printed in papers.
    ``miou_first`` is the mIoU at the threshold that is best at step 1: what a threshold gives that was chosen for the
    plain maps and kept.

    Args:
        curves: Of :func:`trace_scores`.

    Returns:
        ``step`` (from 1), ``miou``, ``threshold``, ``precision``, ``recall``, ``miou_first``.
    """
    rows: list[dict[str, float]] = []
    for step, curve in enumerate(curves, 1):
        best, first, scores = curve.best(), curves[0].best(), curve.scores()
        rows.append(dict(
            step=step, miou=100 * float(scores['miou'][best]), threshold=float(curve.thresholds[best]),
            precision=100 * float(scores['precision'][best]), recall=100 * float(scores['recall'][best]),
            miou_first=100 * float(scores['miou'][first])))
    return rows
