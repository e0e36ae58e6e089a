"""One image with its weak labels, and what a label generator makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wsss_mm.structures.class_maps import ClassMaps


@dataclass
class ImageSample:
    """One image and its weak labels, as the labelling run hands it to a generator.

    Attributes:
        image_id: Id as in the list file; also the stem of the label files.
        image: ``(H, W, 3)`` uint8 RGB, the image's own size.
        boxes: ``(K, 4)`` float32 ``x1, y1, x2, y2`` in pixels, 0-based, half-open.
        box_labels: ``(K,)`` int64 segmentation ids 1…C (0 is background).
        tags: ``(T,)`` int64 sorted segmentation ids of the classes present.
        annotations: The boxes' COCO annotations in their order, where a COCO file names them: ``id``, ``difficult`` …
        crowds: COCO annotations of crowds; these are not among the boxes.
    """

    image_id: str
    image: np.ndarray
    boxes: np.ndarray
    box_labels: np.ndarray
    tags: np.ndarray
    annotations: list[dict[str, Any]] | None = None
    crowds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def box_ids(self) -> np.ndarray:
        """``(K,)`` int64 annotation ids; numbers from 1 where no file names any."""
        ids = [a['id'] for a in self.annotations] if self.annotations is not None else range(1, len(self.boxes) + 1)
        return np.array(list(ids), np.int64)

    @property
    def height(self) -> int:
        return self.image.shape[0]

    @property
    def width(self) -> int:
        return self.image.shape[1]


@dataclass
class LabelResult:
    """What a generator makes of one image.

    Attributes:
        labels: ``(H, W)`` uint8 label map per output name: 0 background, 1…C, 255 ignored.
        notes: Fallbacks taken, one sentence each; they go into the manifest.
        maps: Class maps worth keeping for the report, or None.
        files: Content of further files by their path below the run's folder, as ``instances/<image id>.json``.
    """

    labels: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)
    maps: ClassMaps | None = None
    files: dict[str, bytes] = field(default_factory=dict)
