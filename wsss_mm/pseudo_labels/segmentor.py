"""A trained segmentor's predictions as pseudo labels, for another round of training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult


@TASK_UTILS.register_module()
class SegmentorLabels(LabelGenerator):
    """Predictions of any mmseg segmentor, at the image's own size.

    Args:
        refiner: Config of a refiner (dense CRF) for the class probabilities, run in the worker processes; a CRF that
            the segmentor has in its own ``test_cfg`` is then left out. None takes the prediction as it is, own CRF
            included; the network's process then hands over one byte per pixel instead of all probabilities.
    """

    outputs = ('labels',)

    def __init__(self, refiner: dict | None = None) -> None:
        self.refiner = None if refiner is None else TASK_UTILS.build(refiner)

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """``labels``: ``(H, W)`` uint8, or with a refiner ``probabilities``: ``(K, H, W)`` float32.

        ``model.predict`` takes padding and flips away and resizes to ``ori_shape``.

        Raises:
            ConfigError: a binary segmentor with a single output.
        """
        predict = getattr(model, 'predict_scores', model.predict) if self.refiner else model.predict
        found = predict(inputs, [copy.deepcopy(data_sample)])[0]
        logits = found.seg_logits.data
        if len(logits) == 1:
            raise ConfigError('the segmentor has one output channel', expected='one channel per class, background '
                              'first', fix='set decode_head.out_channels=2')
        if self.refiner is None:
            return dict(labels=found.pred_sem_seg.data[0].to(torch.uint8).cpu())
        return dict(probabilities=logits.float().softmax(0).cpu())

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``; see the class."""
        if self.refiner is None:
            return LabelResult(dict(labels=features['labels'].numpy()))
        posterior = torch.as_tensor(self.refiner(sample.image, features['probabilities'].numpy()))
        return LabelResult(dict(labels=posterior.argmax(0).to(torch.uint8).numpy()))
