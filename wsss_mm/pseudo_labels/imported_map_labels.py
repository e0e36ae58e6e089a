"""Class maps that other programs made, as a labelling run of this package."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_mm.pseudo_labels.class_map_labels import MapLabeller, untagged
from wsss_mm.pseudo_labels.foreign_maps import ForeignMaps
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult


@TASK_UTILS.register_module()
class ImportedMaps(MapLabeller):
    """Class maps of a folder, checked and saved as this package's own, from which every later stage goes on.

    Args:
        map_dir: Folder of the maps, a file or a folder for each image.
        classes, format, keys, class_offset, normalize, missing, aspect: As of
            :class:`~wsss_mm.pseudo_labels.foreign_maps.ForeignMaps`.
        threshold: Score of the background, for label maps beside the class maps; None makes class maps alone.
        refiner, background, alpha: As of :class:`MapLabeller`.
    """

    needs_model = False

    def __init__(self, map_dir: str, classes: Sequence[str] | str, format: str = 'auto', keys: str | None = None,
                 class_offset: int | None = None, normalize: str = 'none', missing: str = 'error', aspect: str = 'keep',
                 threshold: float | None = None, refiner: dict | None = None, background: str = 'threshold',
                 alpha: float = 9.) -> None:
        super().__init__(refiner, background, alpha)
        self.saved = ForeignMaps(map_dir, classes, format, keys, class_offset, normalize, missing, aspect)
        self.threshold = threshold
        self.outputs = () if threshold is None else ('labels',)

    def fingerprint(self) -> dict[str, str]:
        """See :meth:`ForeignMaps.fingerprint`."""
        return self.saved.fingerprint()

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The class maps, and the label map ``labels``; see the class, and for the errors :meth:`ForeignMaps.read`."""
        found, notes = self.saved.read(sample)
        labels = {} if self.threshold is None else dict(
            labels=self.labels_of(sample.image, torch.from_numpy(found.maps), found.class_ids, self.threshold))
        return LabelResult(labels, untagged(sample) + notes, found)
