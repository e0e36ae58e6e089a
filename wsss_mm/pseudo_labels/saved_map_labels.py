"""Pseudo labels from the class maps of an earlier run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.pseudo_labels.auto_threshold import METHODS, choose_threshold, colour_threshold, score_histogram
from wsss_mm.pseudo_labels.class_map_labels import MapLabeller, untagged
from wsss_mm.pseudo_labels.saved_maps import SavedMaps
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult


@TASK_UTILS.register_module()
class SavedMapLabels(MapLabeller):
    """Labels from saved class maps, without the network: another threshold, a threshold chosen from the maps, a CRF.

    The maps were rounded to float16, so a pixel whose score lies within .0005 of the threshold may be labelled
    otherwise than :class:`ClassMapLabels` labelled it from the same maps.

    Args:
        map_dir: Folder of the maps, ``<out_dir>/maps`` of a finished run.
        threshold: Score of the background, or the name of a way to choose one for all maps of the folder, without
            ground truth: ``'colour'``, which looks at the images too, or ``'mean'`` or ``'otsu'``, which see the
            scores alone; see :mod:`wsss_mm.pseudo_labels.auto_threshold`.
        image_dir: Folder of the images, for ``'colour'``.
        refiner, background, alpha: As of :class:`MapLabeller`.

    Raises:
        ConfigError: no such way to choose a threshold, or ``'colour'`` without ``image_dir``.
    """

    outputs = ('labels',)
    needs_model = False

    def __init__(self, map_dir: str, threshold: float | str, image_dir: str | None = None,
                 refiner: dict | None = None, background: str = 'threshold', alpha: float = 9.) -> None:
        super().__init__(refiner, background, alpha)
        if isinstance(threshold, str) and threshold not in ('colour', *METHODS):
            raise ConfigError(f'SavedMapLabels: threshold={threshold!r}',
                              expected=f'a number, or one of colour, {", ".join(METHODS)}')
        if threshold == 'colour' and image_dir is None:
            raise ConfigError("SavedMapLabels: threshold='colour' looks at the images",
                              fix="set image_dir, as 'data/VOCdevkit/VOC2012/JPEGImages'; or threshold='mean'")
        self.saved, self.threshold, self.image_dir = SavedMaps(map_dir), threshold, image_dir

    def fingerprint(self) -> dict[str, str]:
        """See :meth:`SavedMaps.fingerprint`."""
        return self.saved.fingerprint()

    def constants(self, model: Any) -> dict[str, Tensor]:
        """``threshold``: given, or chosen from all maps in the folder, which are read once."""
        threshold = self.threshold
        if isinstance(threshold, str):
            ids = [path.stem for path in self.saved.paths()]
            if self.image_dir is not None and threshold == 'colour':
                threshold = colour_threshold(self.saved.map_dir, self.image_dir, ids)
            else:
                threshold = choose_threshold(*score_histogram(self.saved.map_dir, ids), threshold)
        return dict(threshold=torch.tensor(threshold))

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``; see the class, and for the errors :meth:`SavedMaps.load`."""
        found = self.saved.load(sample)
        labels = self.labels_of(sample.image, torch.from_numpy(found.maps), found.class_ids,
                                float(constants['threshold']))
        return LabelResult(dict(labels=labels), untagged(sample))
