"""The interface of explainers, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import mmcv
import numpy as np
import torch
from torch import Tensor, nn

from wsss_mm.structures import ObjectMaps


class ObjectExplainer(ABC):
    """Attribution maps of objects, by a trained two-stage detector of mmdet.

    It holds settings only, as a localizer does; the model is given with each call, in eval mode.
    """

    @abstractmethod
    def check(self, model: nn.Module) -> None:
        """Refuse a detector that cannot be explained.

        Raises:
            ConfigError: with the list of what works.
        """

    @abstractmethod
    def explain(self, model: Any, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray],
                labels: Sequence[np.ndarray], ids: Sequence[np.ndarray], image_ids: Sequence[str]
                ) -> list[ObjectMaps]:
        """Explain given boxes.

        The result of an object depends neither on the others of the call nor on their order.

        Args:
            model: The detector, on its device.
            images: ``(H, W, 3)`` uint8 RGB, of any sizes.
            boxes: For each image ``(K, 4)`` float32 in its own pixels.
            labels: For each image ``(K,)`` class indices 0…C-1.
            ids: For each image ``(K,)`` annotation ids, which seed random draws.
            image_ids: One each; they seed random draws too.

        Returns:
            One per image, objects in the order of the boxes.
        """


def explained_input(model: Any, image: np.ndarray, scale: tuple[int, int] | None) -> tuple[Tensor, np.ndarray]:
    """An image as the detector's test pipeline gives it: resized with its aspect, normalised, not padded.

    Args:
        model: The detector; its data preprocessor normalises.
        image: ``(H, W, 3)`` uint8 RGB.
        scale: Longest and shortest side at most, as of mmdet's ``Resize(scale=…, keep_ratio=True)``; None: own size.

    Returns:
        ``(1, 3, h, w)`` on the model's device, and ``(4,)`` float32, factors from the image's box coordinates to the
        input's.
    """
    height, width = image.shape[:2]
    resized = image if scale is None else mmcv.imrescale(image, scale, interpolation='bilinear')
    factors = np.array([resized.shape[1] / width, resized.shape[0] / height] * 2, np.float32)
    preprocessor = model.data_preprocessor
    device = next(model.parameters()).device
    # the preprocessor's channel order is that of mmcv's loader, BGR
    pixels = torch.from_numpy(np.ascontiguousarray(resized[..., ::-1].transpose(2, 0, 1))).to(device)
    if preprocessor._channel_conversion:
        pixels = pixels[[2, 1, 0]]
    pixels = pixels.float()
    if preprocessor._enable_normalize:
        pixels = (pixels - preprocessor.mean) / preprocessor.std
    return pixels[None], factors


def object_maps(image_id: str, size: tuple[int, int], input_shape: tuple[int, int], boxes: np.ndarray,
                labels: np.ndarray, ids: np.ndarray, **found: Any) -> ObjectMaps:
    """An :class:`ObjectMaps` with zeros for what an explainer does not know.

    Args:
        image_id: The image's id.
        size: Its own height and width.
        input_shape: Height and width of the input.
        boxes: ``(K, 4)`` in pixels of the image itself.
        labels: ``(K,)`` class indices; kept as segmentation ids.
        ids: ``(K,)``.
        **found: ``grids``, ``statuses`` and any other field.
    """
    count = len(boxes)
    fields: dict[str, Any] = dict(
        strides=np.zeros(count, np.float32), positives=np.zeros(count, np.int64),
        iou_used=np.zeros(count, np.float32), iterations=np.zeros(count, np.int64),
        loss_box=np.zeros(count, np.float32), loss_cls=np.zeros(count, np.float32))
    return ObjectMaps(image_id, *size, input_shape, ids=np.asarray(ids, np.int64),
                      boxes=np.asarray(boxes, np.float32).reshape(-1, 4), labels=np.asarray(labels, np.int64) + 1,
                      **(fields | found))
