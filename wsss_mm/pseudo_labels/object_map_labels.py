"""Instance labels from attribution maps that an earlier run has saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from wsss_mm.pseudo_labels.instance_labels import InstanceLabels
from wsss_mm.pseudo_labels.object_maps import SavedObjectMaps
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, ObjectMasks


@TASK_UTILS.register_module()
class ObjectMapLabels(InstanceLabels):
    """Masks from the maps of :class:`ExplainBoxes`; no network is needed, so thresholds are quickly tried.

    Args:
        map_dir: ``<out_dir>/objects`` of the run that made the maps.
        builder: Config of what makes masks of them, by default
            ``dict(type='wsss_mm.MaskBuilder', preset='official')``.
        **options: As of :class:`InstanceLabels`.
    """

    def __init__(self, map_dir: str | Path, builder: dict | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.saved = SavedObjectMaps(map_dir)
        self.builder = TASK_UTILS.build(builder or dict(type='wsss_mm.MaskBuilder', preset='official'))

    def fingerprint(self) -> dict[str, str]:
        """``maps``: what the maps were made of; with the annotations and the proposals.

        Raises:
            DataError: the maps are not there or not complete, or no annotations.
        """
        return {**super().fingerprint(), **self.saved.fingerprint()}

    def object_masks(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]
                     ) -> ObjectMasks:
        """Masks of the image's saved maps.

        Raises:
            DataError: as of :meth:`SavedObjectMaps.load`.
        """
        return self.builder(sample.image, self.saved.load(sample))
