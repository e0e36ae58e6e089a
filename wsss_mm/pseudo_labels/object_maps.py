"""Attribution maps of the objects of a data set, made once, for label makers that begin with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import DataError
from wsss_mm.explainers import ObjectExplainer
from wsss_mm.files import read_run
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.saved_maps import made_of
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult, ObjectMaps

FOLDER = 'objects'


@TASK_UTILS.register_module()
class ExplainBoxes(LabelGenerator):
    """Writes ``objects/<image id>.npz`` (:class:`~wsss_mm.structures.ObjectMaps`) and no labels.

    Crowds are not explained: they are not among a sample's boxes.

    Args:
        explainer: Config of an :class:`~wsss_mm.explainers.ObjectExplainer`, as :class:`BBAMExplainer`.
    """

    def __init__(self, explainer: dict) -> None:
        self.explainer: ObjectExplainer = TASK_UTILS.build(explainer)

    def constants(self, model: Any) -> dict[str, Tensor]:
        """None; here a detector that cannot be explained is refused before the first image."""
        self.explainer.check(model)
        return {}

    def extract_batch(self, model: Any, images: Sequence[np.ndarray], inputs: Tensor, data_samples: Sequence[Any]
                      ) -> list[dict[str, Tensor]]:
        """``maps``: the bytes of the file, as a uint8 tensor."""
        boxes = [s.gt_instances.bboxes.cpu().numpy() for s in data_samples]
        labels = [s.gt_instances.labels.cpu().numpy() for s in data_samples]
        annotations = [s.metainfo.get('annotations') for s in data_samples]
        ids = [np.array([x['id'] for x in a] if a is not None else np.arange(1, len(b) + 1), np.int64)
               for a, b in zip(annotations, boxes, strict=True)]
        found = self.explainer.explain(model, images, boxes, labels, ids, [s.metainfo['img_id'] for s in data_samples])
        return [dict(maps=torch.frombuffer(bytearray(maps.to_bytes()), dtype=torch.uint8)) for maps in found]

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The file of one image."""
        return LabelResult({}, files={f'{FOLDER}/{sample.image_id}.npz': features['maps'].numpy().tobytes()})


class SavedObjectMaps:
    """The maps of an earlier run.

    Args:
        map_dir: ``<out_dir>/objects`` of a run of :class:`ExplainBoxes`.
    """

    def __init__(self, map_dir: str | Path) -> None:
        self.map_dir = str(map_dir)

    def fingerprint(self) -> dict[str, str]:
        """``maps``: what they were made of.

        Raises:
            DataError: no such run, or it is not complete.
        """
        run = Path(self.map_dir).parent / 'run.json'
        if read_run(run.parent) is None:   # nothing but a run makes these files
            raise DataError('no maps of objects yet', file=run,
                            fix='run tools/generate.py with the config that makes them')
        return dict(maps=made_of(self.map_dir, '*.npz', 'maps of objects'))

    def load(self, sample: ImageSample) -> ObjectMaps:
        """The maps of one image.

        Raises:
            DataError: no maps, of an image of another size, or of other objects than the sample's.
        """
        path = Path(self.map_dir) / f'{sample.image_id}.npz'
        maps = ObjectMaps.load(path)
        if (maps.height, maps.width) != (sample.height, sample.width):
            raise DataError(f'maps of an image of {maps.height} x {maps.width}', file=path,
                            expected=f'{sample.height} x {sample.width}, as the image')
        if not np.array_equal(maps.ids, sample.box_ids):
            raise DataError(f'maps of the objects {maps.ids.tolist()[:10]}', file=path,
                            expected=f'{sample.box_ids.tolist()[:10]}, as the annotations',
                            fix='explain anew: the boxes have changed')
        return maps
