"""How well a classifier names the classes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from wsss_mm.errors import ConfigError
from wsss_mm.registry import METRICS


def average_precision(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Average precision of each class: the mean over its positives of the precision among all scored at least as high.

    Equal scores stand and fall together, as in ``sklearn.metrics.average_precision_score``. All classes at once, by
    one sort: O(N C log N).

    Args:
        scores: ``(N, C)``.
        positive: ``(N, C)`` booleans.

    Returns:
        ``(C,)`` in [0, 1]; NaN for a class without positives.

    Raises:
        ValueError: shapes differ, or a score is NaN.
    """
    scores, positive = np.asarray(scores), np.asarray(positive, bool)
    if scores.shape != positive.shape or scores.ndim != 2:
        raise ValueError(f'scores {scores.shape} and tags {positive.shape}: expected (N, C) for both')
    if np.isnan(scores).any():
        raise ValueError('a score is NaN')
    order = np.argsort(-scores, axis=0, kind='stable')
    ranked, hit = np.take_along_axis(scores, order, 0), np.take_along_axis(positive, order, 0)
    # Rank of the last of those with an equal score, counted from 1.
    rank = np.arange(1, len(scores) + 1)[:, None]
    last = np.where(np.diff(ranked, axis=0, append=-np.inf) != 0, rank, len(scores))
    last = np.minimum.accumulate(last[::-1], axis=0)[::-1]
    precision = np.take_along_axis(np.cumsum(hit, 0), last - 1, 0) / last
    total = hit.sum(0)
    return np.divide((precision * hit).sum(0), total, out=np.full(len(total), np.nan), where=total > 0)


@METRICS.register_module()
class TagMetric(BaseMetric):
    """Multi-label scores of ``pred_label`` against ``gt_label``, both ``(C,)``, in percent.

    ``mAP``: mean :func:`average_precision` over the classes that occur. ``exact_match``: images all of whose tags are
    right. ``accuracy``: mean over classes of the share of images where the class is judged rightly. ``F1``: mean of
    2 TP / (2 TP + FP + FN) over the classes that are in truth or prediction. The last three take a class as named
    where its score is above ``threshold``. With ``per_class`` also ``AP/<name>`` and ``accuracy/<name>``.

    Args:
        threshold: Score above which a class is named.
        per_class: Also each class alone.
        collect_device, prefix, collect_dir: As in mmengine.
    """

    default_prefix = 'tags'

    def __init__(self, threshold: float = .5, per_class: bool = False, collect_device: str = 'cpu',
                 prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.threshold, self.per_class = threshold, per_class

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep scores and tags of a batch.

        Raises:
            ConfigError: samples without scores or tags.
        """
        for sample in data_samples:
            for key, fix in (('pred_label', 'use a classifier, as CAMClassifier'),
                             ('gt_label', 'put LoadWeakLabels(boxes=False) into the pipeline')):
                if key not in sample:
                    raise ConfigError(f'a sample has no `{key}`', fix=fix)
            self.results.append(np.stack([sample[k].float().cpu().numpy() for k in ('pred_label', 'gt_label')]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics of all images."""
        assert self.dataset_meta is not None
        names = list(self.dataset_meta['classes'])[1:]
        scores, tags = np.stack(results).swapaxes(0, 1) if results else np.zeros((2, 0, len(names)))
        if scores.shape[1] != len(names):
            raise ConfigError(f'{scores.shape[1]} scores for {len(names)} foreground classes')
        tags, said = tags > 0, scores > self.threshold
        precisions, right = average_precision(scores, tags), said == tags
        twice, wrong = 2 * (said & tags).sum(0), (~right).sum(0)
        f1 = (twice / np.maximum(twice + wrong, 1))[twice + wrong > 0]
        found = dict(mAP=_mean(precisions[~np.isnan(precisions)]), exact_match=_mean(right.all(1)),
                     accuracy=_mean(right), F1=_mean(f1))
        if self.per_class:
            found.update({f'AP/{name}': 100 * float(v) for name, v in zip(names, precisions, strict=True)})
            found.update({f'accuracy/{name}': _mean(column) for name, column in zip(names, right.T, strict=True)})
        return found


def _mean(values: np.ndarray) -> float:
    return 100 * float(values.mean()) if values.size else float('nan')
