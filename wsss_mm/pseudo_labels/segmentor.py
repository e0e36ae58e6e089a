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
        present_only: Choose among the background and the classes of the image's tags, which the pipeline then has to
            load. The CRF sees these classes alone, so it is also the cheaper. Without a refiner the prediction is
            taken before the segmentor's own CRF.
    """

    outputs = ('labels',)

    def __init__(self, refiner: dict | None = None, present_only: bool = False) -> None:
        self.refiner = None if refiner is None else TASK_UTILS.build(refiner)
        self.present_only = present_only

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """``labels``: ``(H, W)`` uint8, or with a refiner ``probabilities``: ``(K, H, W)`` float32 of ``classes`` (K,).

        ``model.predict`` takes padding and flips away and resizes to ``ori_shape``.

        Raises:
            ConfigError: a binary segmentor with a single output, or ``present_only`` for a sample without tags.
        """
        whole = self.refiner is None and not self.present_only
        predict = model.predict if whole else getattr(model, 'predict_scores', model.predict)
        found = predict(inputs, [copy.deepcopy(data_sample)])[0]
        logits = found.seg_logits.data
        if len(logits) == 1:
            raise ConfigError('the segmentor has one output channel', expected='one channel per class, background '
                              'first', fix='set decode_head.out_channels=2')
        if whole:
            return dict(labels=found.pred_sem_seg.data[0].to(torch.uint8).cpu())
        classes = torch.arange(len(logits)) if not self.present_only else _present(data_sample)
        logits = logits[classes.to(logits.device)]
        if self.refiner is None:
            return dict(labels=classes[logits.argmax(0).cpu()].to(torch.uint8))
        return dict(probabilities=logits.float().softmax(0).cpu(), classes=classes)

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``; see the class."""
        if self.refiner is None:
            return LabelResult(dict(labels=features['labels'].numpy()))
        posterior = torch.as_tensor(self.refiner(sample.image, features['probabilities'].numpy()))
        return LabelResult(dict(labels=features['classes'][posterior.argmax(0)].to(torch.uint8).numpy()))


def _present(data_sample: Any) -> Tensor:
    """Segmentation ids of the background and the tagged classes."""
    if 'gt_label' not in data_sample:
        raise ConfigError('SegmentorLabels present_only: a sample has no `gt_label`',
                          expected='multi-hot image tags (C,)',
                          fix='put LoadWeakLabels into the pipeline of pseudo_labels.dataset')
    return torch.cat([torch.zeros(1, dtype=torch.int64), data_sample.gt_label.cpu().nonzero().flatten() + 1])
