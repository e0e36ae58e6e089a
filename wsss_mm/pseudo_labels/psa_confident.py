"""Areas that are surely an object's or background's, by two dense CRFs (PSA, section 3.3.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsss_mm.array_files import npz_bytes
from wsss_mm.datasets.transforms.confident import confident_labels
from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels.class_map_labels import background_scores, untagged
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.saved_maps import SavedMaps
from wsss_mm.refinement import DenseCRF, PreparedCRF
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult

_LOWEST_SCORE = 1e-5


@TASK_UTILS.register_module()
class PSAConfidentAreas(LabelGenerator):
    """Class maps against ``(1 - max_k A_k)^alpha``, once with a small and once with a large power, each after the CRF.

    The small power makes much background: what is foreground all the same is surely foreground. The large one makes
    little: what is background is surely so.

    Writes ``labels/<id>.png``, the sure labels at the image's size, 255 elsewhere; and ``scores/<id>.npz`` with
    ``class_ids (K,)``, ``low`` and ``high`` ``(K + 1, H, W)``, the two posteriors as uint8, 255 for 1.
    AffinityNet learns from these, since it pools scores after the crop. uint8 moves a mean over a cell by less than
    1/510, which decides between near equals alone, at half the bytes of float16.

    Both CRFs share the image's lattices, which take most of the time; only classes present take part.

    Args:
        map_dir: Folder of class maps, ``<out_dir>/maps`` of a finished run.
        crf: Config of the :class:`~wsss_mm.refinement.DenseCRF`.
        alpha_low: The small power: 4.
        alpha_high: The large one: 32 as published in code, with which its best figures were measured; 24 in the paper.

    Raises:
        ConfigError: ``alpha_low`` above ``alpha_high``, or a refiner that is no dense CRF.
    """

    outputs = ('labels',)
    needs_model = False

    def __init__(self, map_dir: str, crf: dict, alpha_low: float = 4., alpha_high: float = 32.) -> None:
        if not 0 < alpha_low <= alpha_high:
            raise ConfigError(f'PSAConfidentAreas: alpha_low={alpha_low}, alpha_high={alpha_high}',
                              expected='0 < alpha_low <= alpha_high')
        self.crf = TASK_UTILS.build(crf)
        if not isinstance(self.crf, DenseCRF):
            raise ConfigError(f'PSAConfidentAreas: crf is a {type(self.crf).__name__}', expected='wsss_mm.DenseCRF')
        self.saved, self.alpha_low, self.alpha_high = SavedMaps(map_dir), alpha_low, alpha_high

    def fingerprint(self) -> dict[str, str]:
        """See :meth:`SavedMaps.fingerprint`."""
        return self.saved.fingerprint()

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels`` and the scores; all background for an image without tags."""
        found = self.saved.load(sample).full_size()
        low = high = np.full((1, sample.height, sample.width), 255, np.uint8)
        if len(found.class_ids):
            prepared = self.crf.prepare(sample.image)
            maps = torch.from_numpy(found.maps)
            low, high = (self._posterior(prepared, maps, alpha) for alpha in (self.alpha_low, self.alpha_high))
        scores = npz_bytes(dict(class_ids=found.class_ids.astype(np.int64), low=low, high=high))
        return LabelResult(dict(labels=confident_labels(low, high, found.class_ids)), untagged(sample),
                           files={f'scores/{sample.image_id}.npz': scores})

    @staticmethod
    def _posterior(prepared: PreparedCRF, maps: Tensor, alpha: float) -> np.ndarray:
        scores = torch.cat([background_scores(maps, background='power', alpha=alpha)[None], maps])
        return np.rint(255 * prepared.infer(-scores.clamp(_LOWEST_SCORE, 1).log())).astype(np.uint8)
