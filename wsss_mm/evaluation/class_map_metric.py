"""Class maps in mmengine's validation loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from wsss_mm.errors import ConfigError
from wsss_mm.evaluation.threshold_curve import MEANS, ThresholdCurve
from wsss_mm.registry import METRICS


@METRICS.register_module()
class ClassMapMetric(BaseMetric):
    """Best background threshold of the class maps of a validation set, and the scores there.

    Reads ``class_maps`` ``(C, H, W)`` (``CAMClassifier`` with ``test_cfg=dict(class_maps=True)``) and ``gt_sem_seg``
    of each sample; put ``LoadWeakLabels(boxes=False)`` into the pipeline, so that only the classes of the tags have
    maps. Each image is counted once (:meth:`ThresholdCurve.count`), and the counts, some kilobytes an image, are
    summed in the end: the same numbers in one process and in several.

    Metrics, in percent: ``mIoU``, ``precision``, ``recall``, ``F1`` at the ``threshold`` of the highest mIoU, all as
    :meth:`ThresholdCurve.scores` defines them; ``mIoU@<t>`` at a given one. The best threshold is chosen with the
    truth it is scored on; the given one is not.

    Args:
        threshold: Also score at this one.
        thresholds: Candidates; default 0, .01 … 1. ``threshold`` must be among them.
        collect_device, prefix, collect_dir: As in mmengine.

    Raises:
        ConfigError: ``threshold`` is not among the candidates.
    """

    default_prefix = 'class_maps'

    def __init__(self, threshold: float | None = None, thresholds: Sequence[float] | None = None,
                 collect_device: str = 'cpu', prefix: str | None = None, collect_dir: str | None = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.threshold, self.thresholds = threshold, thresholds
        candidates = self._curve(2).thresholds
        if threshold is not None and np.abs(candidates - threshold).min() > 1e-6:
            raise ConfigError(f'threshold={threshold} is not among the thresholds {candidates.tolist()}',
                              fix='add it to thresholds')

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch.

        Args:
            data_batch: Not used.
            data_samples: Of the model, as dicts.

        Raises:
            ConfigError: samples without class maps or without ground truth.
        """
        assert self.dataset_meta is not None
        curve = self._curve(len(self.dataset_meta['classes']))
        for sample in data_samples:
            for key, fix in (('class_maps', 'model = dict(test_cfg=dict(class_maps=True))'),
                             ('gt_sem_seg', 'put LoadLabelMaps into the pipeline, before PackWeakInputs')):
                if key not in sample:
                    raise ConfigError(f'a sample has no `{key}`', fix=fix)
            maps, truth = sample['class_maps']['data'], sample['gt_sem_seg']['data'].squeeze(0).cpu().numpy()
            if len(maps) != curve.num_classes - 1:
                raise ConfigError(f'{len(maps)} class maps for {curve.num_classes} classes with the background',
                                  expected='as many as the dataset has foreground classes')
            # A map of zeros is never above background.
            present = (maps.flatten(1).amax(1) > 0).nonzero()[:, 0]
            self.results.append(curve.count(maps[present].float().cpu().numpy(), present.cpu().numpy() + 1, truth))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics from the counts of all images."""
        assert self.dataset_meta is not None
        curve = self._curve(len(self.dataset_meta['classes']))
        for pixels in results:
            curve.add(np.asarray(pixels))
        scores, at = curve.scores(), curve.best() if curve.counts.any() else 0
        found = dict(zip(('mIoU', 'precision', 'recall', 'F1'), (100 * float(scores[k][at]) for k in MEANS),
                         strict=True), threshold=float(curve.thresholds[at]))
        if self.threshold is not None:
            found[f'mIoU@{self.threshold:g}'] = 100 * float(scores['miou'][curve.nearest(self.threshold)])
        return found

    def _curve(self, num_classes: int) -> ThresholdCurve:
        return ThresholdCurve(num_classes, self.thresholds)
