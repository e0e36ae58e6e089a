"""Labels after a random walk over AffinityNet's affinities (PSA, section 3.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization import best_class
from wsss_mm.models.affinity.psa import AffinityNet
from wsss_mm.pseudo_labels.class_map_labels import background_scores, untagged
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.saved_maps import SavedMaps
from wsss_mm.refinement.random_walk import random_walk
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ClassMaps, ImageSample, LabelResult


@TASK_UTILS.register_module()
class PSALabels(LabelGenerator):
    """Class maps and ``(1 - max_k A_k)^alpha`` walk over the image, and the best score is the label.

    The maps come from an earlier run, the affinities from the model, an :class:`~wsss_mm.models.affinity.AffinityNet`,
    on the image at its own size. Of equal scores the background's wins. Only background and classes present take part.

    Args:
        map_dir: Folder of class maps, ``<out_dir>/maps`` of a finished run.
        beta: Power of the affinities.
        steps: Steps of the walk, 256 as published, 64 in AEFT.
        alpha: Power of the background, 16.
        refiner: Config of a refiner for the scores after the walk; AEFT has one iteration of the dense CRF,
            ``dict(type='wsss_mm.DenseCRF', preset='aeft', iterations=1)``.
        save_maps: Keep maps of the classes, as float16: a class's score divided by its sum with the background's. So a
            class beats the background above .5, and the curve over thresholds is one over weights of the background.
    """

    outputs = ('labels',)

    def __init__(self, map_dir: str, beta: float = 8., steps: int = 256, alpha: float = 16.,
                 refiner: dict | None = None, save_maps: bool = True) -> None:
        self.saved, self.beta, self.steps, self.alpha = SavedMaps(map_dir), beta, steps, alpha
        self.refiner = None if refiner is None else TASK_UTILS.build(refiner)
        self.save_maps = save_maps

    def fingerprint(self) -> dict[str, str]:
        """See :meth:`SavedMaps.fingerprint`."""
        return self.saved.fingerprint()

    def constants(self, model: Any) -> dict[str, Tensor]:
        """``offsets`` ``(P, 2)`` and ``stride`` of the model.

        Raises:
            ConfigError: it is no AffinityNet.
        """
        if not isinstance(model, AffinityNet):
            raise ConfigError(f'PSALabels with a {type(model).__name__}', expected='wsss_mm.AffinityNet',
                              fix='take a config whose model is one, as configs/psa/affinity_cam_voc.py')
        return dict(offsets=model.offsets, stride=torch.tensor(model.stride))

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """``affinity`` ``(P, h, w)``, see :meth:`AffinityNet.predict`."""
        return dict(affinity=model.predict(inputs)['affinity'][0].float().cpu())

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``, and the maps; all background for an image without tags."""
        found = self.saved.load(sample).full_size()
        size = sample.height, sample.width
        if not len(found.class_ids):
            empty = ClassMaps(sample.image_id, found.class_ids, np.zeros((0, *size), np.float32), *size)
            return LabelResult(dict(labels=np.zeros(size, np.uint8)), untagged(sample),
                               empty if self.save_maps else None)
        maps = torch.from_numpy(found.maps)
        scores = torch.cat([background_scores(maps, background='power', alpha=self.alpha)[None], maps])
        scores = walk_scores(scores, features['affinity'], constants['offsets'].long(), int(constants['stride']),
                             self.beta, self.steps)
        if self.refiner is not None:
            scores = torch.as_tensor(self.refiner(sample.image, scores.numpy()))
        labels = np.array([0, *found.class_ids], np.uint8)[best_class(scores).numpy()]
        shares = scores[1:] / (scores[1:] + scores[:1]).clamp_min(1e-12)
        kept = ClassMaps(sample.image_id, found.class_ids, shares.numpy(), *size)
        return LabelResult(dict(labels=labels), untagged(sample), kept if self.save_maps else None)


def walk_scores(scores: Tensor, affinity: Tensor, offsets: Tensor, stride: int, beta: float, steps: int) -> Tensor:
    """Pool scores to the affinities' stride, let them walk, and enlarge them bilinearly.

    Args:
        scores: ``(K, H, W)``.
        affinity: ``(P, h, w)`` with ``h = ceil(H / stride)``, ``w = ceil(W / stride)``.
        offsets: ``(P, 2)``.
        stride: Pixels per cell; the scores are padded with zeros to whole cells, as the image was.
        beta, steps: Of :func:`~wsss_mm.refinement.random_walk`.

    Returns:
        ``(K, H, W)``.
    """
    height, width = scores.shape[1:]
    rows, columns = affinity.shape[1:]
    padded = F.pad(scores, (0, columns * stride - width, 0, rows * stride - height))
    walked = random_walk(F.avg_pool2d(padded, stride), affinity, offsets, beta, steps)
    large = F.interpolate(walked[None], scale_factor=stride, mode='bilinear', align_corners=False)[0]
    return large[:, :height, :width]
