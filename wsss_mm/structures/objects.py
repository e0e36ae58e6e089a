"""Single objects of one image: their attribution maps and masks, and the maps' file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from wsss_mm.array_files import NUMBERS, TEXT, WHOLE, Form, check_forms, check_size, npz_bytes, read_arrays
from wsss_mm.errors import DataError

# One value per object, with its type in the file.
_SCALARS = dict(ids=np.int64, labels=np.int64, strides=np.float32, positives=np.int64, iou_used=np.float32,
                iterations=np.int64, loss_box=np.float32, loss_cls=np.float32)
_FORMS: dict[str, Form] = dict(
    image_id=(TEXT, ()), size=(WHOLE, (4, )), boxes=(NUMBERS, (None, 4)), statuses=(TEXT, (None, )),
    shapes=(WHOLE, (None, 2)), cells=(NUMBERS, (None, )),
    **{name: (WHOLE if kind is np.int64 else NUMBERS, (None, )) for name, kind in _SCALARS.items()})


@dataclass
class ObjectMaps:
    """Attribution maps of the objects of one image, at the resolution in which they were found.

    A map's cells are spread over the whole image, the first and the last one's middle on its borders
    (``align_corners=True``).

    Attributes:
        image_id: The image's id.
        height, width: The image's own size.
        input_shape: Height and width at which the network saw it.
        ids: ``(N,)`` int64, annotation ids; the objects are told apart by them, never by their order.
        boxes: ``(N, 4)`` float32 ``x1, y1, x2, y2`` in pixels of the image itself, half-open.
        labels: ``(N,)`` int64 segmentation ids 1…C.
        grids: N maps ``(h, w)`` float32 in [0, 1], each of its own size.
        statuses: N of ``'ok'``, ``'tiny'``, ``'no_positive'``, ``'all_zero'``, ``'invalid'``, ``'diverged'``.
        strides: ``(N,)`` float32, pixels of the input per cell.
        positives: ``(N,)`` int64, proposals that were explained together.
        iou_used: ``(N,)`` float32, the IoU that these exceed.
        iterations: ``(N,)`` int64, steps taken.
        loss_box, loss_cls: ``(N,)`` float32, the two heads' changes at the last step.
    """

    image_id: str
    height: int
    width: int
    input_shape: tuple[int, int]
    ids: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    grids: list[np.ndarray]
    statuses: list[str]
    strides: np.ndarray
    positives: np.ndarray
    iou_used: np.ndarray
    iterations: np.ndarray
    loss_box: np.ndarray
    loss_cls: np.ndarray

    def __len__(self) -> int:
        return len(self.grids)

    def full_size(self, number: int) -> np.ndarray:
        """Map of one object, ``(H, W)`` float32 at the image's own size."""
        grid = torch.from_numpy(self.grids[number])[None, None]
        return F.interpolate(grid, (self.height, self.width), mode='bilinear', align_corners=True)[0, 0].numpy()

    def to_bytes(self) -> bytes:
        """The ``.npz`` file's bytes: float32, no pickle, about 2 KB per object; equal maps give equal bytes."""
        arrays = {name: np.asarray(getattr(self, name), kind) for name, kind in _SCALARS.items()}
        arrays.update(
            image_id=np.array(self.image_id), boxes=np.asarray(self.boxes, np.float32).reshape(-1, 4),
            size=np.array([self.height, self.width, *self.input_shape]), statuses=np.array(self.statuses, 'U16'),
            shapes=np.array([g.shape for g in self.grids], np.int64).reshape(-1, 2),
            cells=np.concatenate([np.zeros(0, np.float32), *[g.astype(np.float32).ravel() for g in self.grids]]))
        return npz_bytes(arrays)

    @classmethod
    def load(cls, path: str | Path) -> ObjectMaps:
        """Read a file written from :meth:`to_bytes`.

        Raises:
            DataError: not such a file, or arrays that do not fit together.
        """
        found = read_arrays(path, 'maps of objects')
        check_forms(found, _FORMS, path)
        shapes, count = found['shapes'].astype(np.int64), len(found['cells'])
        lengths = {len(found[k]) for k in ('boxes', 'statuses', *_SCALARS)} | {len(shapes)}
        # sides are bounded before they are multiplied, which could overflow
        whole = len(shapes) == 0 or (shapes.min() >= 1 and shapes.max() <= count)
        ends = shapes.prod(1).cumsum() if whole else []
        if len(lengths) != 1 or not whole or count != (ends[-1] if len(ends) else 0):
            raise DataError('arrays do not fit together', file=path, expected='one entry per object in each')
        pieces = np.split(found['cells'].astype(np.float32), ends[:-1]) if len(ends) else []
        grids = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
        height, width, *input_shape = (int(v) for v in found['size'])
        check_size(height, width, path)
        return cls(str(found['image_id']), height, width, (input_shape[0], input_shape[1]), boxes=found['boxes'],
                   grids=grids, statuses=[str(s) for s in found['statuses']], **{k: found[k] for k in _SCALARS})


@dataclass
class ObjectMasks:
    """Masks of the objects of one image.

    Attributes:
        masks: ``(N, H, W)`` uint8 at the image's own size: 0 background, 1 object, 2 ignored.
        ids: ``(N,)`` int64, annotation ids.
        boxes: ``(N, 4)`` float32 in pixels, half-open.
        labels: ``(N,)`` int64 segmentation ids 1…C.
        statuses: How each was made, one word.
        scores: ``(N,)`` float32 where they are predictions.
        details: For each object what else its annotation shall say, by key.
    """

    masks: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    statuses: Sequence[str]
    scores: np.ndarray | None = None
    details: list[dict] = field(default_factory=list)
