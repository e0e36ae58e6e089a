"""Confident areas for the training of IRNet, from class maps."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization import best_class
from wsss_mm.pseudo_labels.class_map_labels import untagged
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.saved_maps import SavedMaps
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult


def label_unary(labels: np.ndarray, num_labels: int, confidence: float) -> np.ndarray:
    """Energies of a label map that holds with one probability everywhere.

    ``-log p`` for a pixel's own label, ``-log((1 - p) / (K - 1))`` for each other.

    Args:
        labels: ``(H, W)`` 0 … K - 1.
        num_labels: K, 2 or more.
        confidence: p.

    Returns:
        ``(K, H, W)`` float32.
    """
    own = np.arange(num_labels)[:, None, None] == labels
    return np.where(own, -math.log(confidence), -math.log((1 - confidence) / (num_labels - 1))).astype(np.float32)


@TASK_UTILS.register_module()
class IRNConfidentLabels(LabelGenerator):
    """Label maps of what saved class maps say surely, 255 elsewhere.

    The best of the class maps and a constant background is smoothed by a CRF whose unary is the label map itself,
    twice: with a high background, which leaves sure foreground, and a low one, which leaves sure background. A pixel
    is of a class where the first is; background where both are; else 255. A pixel that is of one class in the first
    and of another in the second keeps the first's, as in the published code.

    The CRF's lattices depend on the image alone and are made once for both; where both label maps are equal, the second
    CRF is not run. The two runs are what refinement by IRN costs most.

    Args:
        map_dir: Folder of the class maps, ``<out_dir>/maps`` of a finished run.
        foreground: The high background: IRN .30, AdvCAM and RIB .35, W-OoD .30.
        background: The low one: IRN .05, AdvCAM and W-OoD .15, RIB .17.
        refiner: Config of the :class:`~wsss_mm.refinement.DenseCRF`, published ``preset='irn'``; None without.
        confidence: Probability with which the CRF takes a pixel's label.

    Raises:
        ConfigError: a background above the foreground, or a confidence that is none.
    """

    outputs = ('labels',)
    needs_model = False

    def __init__(self, map_dir: str, foreground: float = .30, background: float = .05, refiner: dict | None = None,
                 confidence: float = .7) -> None:
        if not background <= foreground:
            raise ConfigError(f'IRNConfidentLabels: background={background}, foreground={foreground}',
                              expected='a background threshold not above that of the foreground')
        if not 0 < confidence < 1:
            raise ConfigError(f'IRNConfidentLabels: confidence={confidence}', expected='between 0 and 1')
        self.saved, self.foreground, self.background = SavedMaps(map_dir), foreground, background
        self.refiner = None if refiner is None else TASK_UTILS.build(refiner)
        self.confidence = confidence

    def fingerprint(self) -> dict[str, str]:
        """See :meth:`SavedMaps.fingerprint`."""
        return self.saved.fingerprint()

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``; all background without a tag. For the errors see :meth:`SavedMaps.load`."""
        found = self.saved.load(sample).full_size()
        if not len(found.maps):
            return LabelResult(dict(labels=np.zeros((sample.height, sample.width), np.uint8)), untagged(sample))
        maps = torch.from_numpy(found.maps)
        high, low = (best_class(torch.cat([maps.new_full((1, *maps.shape[1:]), threshold), maps])).numpy()
                     for threshold in (self.foreground, self.background))
        if self.refiner is not None:
            prepared, count = self.refiner.prepare(sample.image), len(maps) + 1
            same = np.array_equal(high, low)
            high = prepared.infer(label_unary(high, count, self.confidence)).argmax(0)
            low = high if same else prepared.infer(label_unary(low, count, self.confidence)).argmax(0)
        ids = np.concatenate([[255], found.class_ids]).astype(np.uint8)
        return LabelResult(dict(labels=np.where((high == 0) & (low == 0), 0, ids[high]).astype(np.uint8)))
