"""Class maps of one image, and their file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from wsss_mm.array_files import NUMBERS, TEXT, WHOLE, Form, check_forms, check_size, npz_bytes, read_arrays
from wsss_mm.errors import DataError

_FORMS: dict[str, Form] = dict(image_id=(TEXT, ()), class_ids=(WHOLE, (None, )), maps=(NUMBERS, (None, None, None)),
                               size=(WHOLE, (2, )))


@dataclass
class ClassMaps:
    """Class maps of one image.

    Attributes:
        image_id: The image's id, as in the list file.
        class_ids: ``(K,)`` int64, segmentation ids of the classes present (1…C; 0 is background).
        maps: ``(K, h, w)`` float32 in [0, 1].
        height, width: The image's own size; ``h, w`` may be smaller.
        background: ``(h, w)`` float32 in [0, 1], where a method has one (BANA's u_0).
    """

    image_id: str
    class_ids: np.ndarray
    maps: np.ndarray
    height: int
    width: int
    background: np.ndarray | None = None

    def full_size(self) -> ClassMaps:
        """The same, enlarged bilinearly to the image's size; itself where it has that size."""
        size = (self.height, self.width)

        def enlarge(maps: np.ndarray) -> np.ndarray:
            # classes as the batch, which may be empty
            batch = torch.from_numpy(maps)[:, None]
            return F.interpolate(batch, size, mode='bilinear', align_corners=False)[:, 0].numpy()
        if self.maps.shape[1:] == size and (self.background is None or self.background.shape == size):
            return self
        background = None if self.background is None else enlarge(self.background[None])[0]
        return dataclasses.replace(self, maps=enlarge(self.maps), background=background)

    def to_bytes(self) -> bytes:
        """The ``.npz`` file's bytes: float16, no pickle; the same maps give the same bytes."""
        arrays = dict(image_id=np.array(self.image_id), class_ids=self.class_ids.astype(np.int64),
                      maps=self.maps.astype(np.float16), size=np.array([self.height, self.width]))
        if self.background is not None:
            arrays['background'] = self.background.astype(np.float16)
        return npz_bytes(arrays)

    @classmethod
    def load(cls, path: str | Path) -> ClassMaps:
        """Read a file written from :meth:`to_bytes`.

        Raises:
            DataError: not such a file, or arrays that do not fit together.
        """
        found = read_arrays(path, 'class maps')
        check_forms(found, _FORMS | ({'background': (NUMBERS, (None, None))} if 'background' in found else {}), path)
        maps, ids, background = found['maps'], found['class_ids'], found.get('background')
        if len(maps) != len(ids):
            raise DataError(f'maps of shape {maps.shape} for {len(ids)} class ids', file=path,
                            expected='maps (K, h, w) and class_ids (K,)')
        if 0 in maps.shape[1:] or background is not None and background.shape != maps.shape[1:]:
            raise DataError(f'maps of shape {maps.shape}, background {getattr(background, "shape", None)}', file=path,
                            expected='both of one size, above 0')
        height, width = (int(v) for v in found['size'])
        check_size(height, width, path)
        return cls(str(found['image_id']), ids, maps.astype(np.float32), height, width,
                   background=None if background is None else background.astype(np.float32))
