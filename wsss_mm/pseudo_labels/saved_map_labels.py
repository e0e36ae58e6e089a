"""Pseudo labels from the class maps of an earlier run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.files import read_json
from wsss_mm.pseudo_labels.auto_threshold import METHODS, choose_threshold, colour_threshold, score_histogram
from wsss_mm.pseudo_labels.class_map_labels import MapLabeller, untagged
from wsss_mm.registry import TASK_UTILS
from wsss_mm.safe_loading import file_sha256
from wsss_mm.structures import ClassMaps, ImageSample, LabelResult


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
        self.map_dir, self.threshold, self.image_dir = map_dir, threshold, image_dir

    def fingerprint(self) -> dict[str, str]:
        """``maps``: what the maps were made of, by their run; of maps without a run, the hash of their bytes.

        Raises:
            DataError: no maps there, or their run is not complete.
        """
        paths = self._paths()
        run = Path(self.map_dir).parent / 'run.json'
        if (found := read_json(run)) is not None:
            if not found.get('complete'):
                raise DataError('the run that makes the class maps is not complete', file=run,
                                fix='run its command again: what is finished is kept')
            return dict(maps=found['hash'])
        digest = hashlib.sha256(''.join(f'{path.stem} {file_sha256(path)}\n' for path in paths).encode())
        return dict(maps=digest.hexdigest()[:16])

    def constants(self, model: Any) -> dict[str, Tensor]:
        """``threshold``: given, or chosen from all maps in the folder, which are read once."""
        threshold = self.threshold
        if isinstance(threshold, str):
            ids = [path.stem for path in self._paths()]
            if self.image_dir is not None and threshold == 'colour':
                threshold = colour_threshold(self.map_dir, self.image_dir, ids)
            else:
                threshold = choose_threshold(*score_histogram(self.map_dir, ids), threshold)
        return dict(threshold=torch.tensor(threshold))

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``; see the class.

        Raises:
            DataError: no maps of this image, of another size, or without a class that it is tagged with.
        """
        path = Path(self.map_dir) / f'{sample.image_id}.npz'
        if not path.is_file():
            raise DataError('no class maps of this image', file=path,
                            fix='label the same list with ClassMapLabels first, or take the image off the list')
        found = ClassMaps.load(path)
        if (found.height, found.width) != (sample.height, sample.width):
            raise DataError(f'class maps of an image of {found.height} x {found.width} pixels (height x width), it '
                            f'has {sample.height} x {sample.width}', file=path, expected='maps of this very image')
        if missing := sorted(set(sample.tags.tolist()) - set(found.class_ids.tolist())):
            raise DataError(f'no map of the classes {missing}, which the image is tagged with', file=path,
                            fix='make the maps anew with these tags')
        present = np.isin(found.class_ids, sample.tags)
        labels = self.labels_of(sample.image, torch.from_numpy(found.maps[present]), found.class_ids[present],
                                float(constants['threshold']))
        return LabelResult(dict(labels=labels), untagged(sample))

    def _paths(self) -> list[Path]:
        paths = sorted(Path(self.map_dir).glob('*.npz'))
        if not paths:
            raise DataError('no class maps here', file=self.map_dir, expected='<image id>.npz, one per image',
                            fix='make them first: ClassMapLabels with save_maps=True')
        return paths
