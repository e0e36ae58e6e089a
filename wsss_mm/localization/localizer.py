"""From a classifier and images to class maps: the interfaces of all localizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from wsss_mm.structures import ClassMaps


@dataclass(frozen=True)
class Views:
    """What the rows of a network input are: N images, all at one scale, and then, perhaps, their mirror images.

    Attributes:
        image_ids: The N images, by which whatever is drawn at random is seeded.
        scale: Their size relative to the images' own.
        mirrored: Whether rows N … 2N-1 are the mirror images of rows 0 … N-1; else there are N rows.
    """

    image_ids: tuple[str, ...]
    scale: float = 1.
    mirrored: bool = False


class Localizer(ABC):
    """One way of reading class maps off a trained classifier.

    Callers run it with gradients off and the model in eval mode; a localizer that needs gradients switches them on
    for itself, without a gradient for the parameters. It is sent to worker processes, so it holds settings only, no
    tensors and no model.
    """

    @abstractmethod
    def maps(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Tensor:
        """Class maps of the classes present.

        Args:
            model: A :class:`~wsss_mm.models.classifiers.CAMClassifier` in eval mode.
            inputs: ``(N, 3, H, W)``, normalised.
            tags: ``(N, C)`` bool, the classes present; a mirror image has its image's.
            views: What the rows of ``inputs`` are; None for images of their own, at their own size.

        Returns:
            ``(P, h, w)`` raw, signed maps of the P present (image, class) pairs, image by image, classes ascending.
        """

    def trace(self, model: Any, inputs: Tensor, tags: Tensor, views: Views | None = None) -> Iterator[Tensor]:
        """The maps after 1, 2, … steps, of which the last is what :meth:`maps` gives; one, where it has no steps."""
        yield self.maps(model, inputs, tags, views)


class ImageLocalizer(ABC):
    """Class maps of images at their own size, from whatever passes through the network that takes.

    It has two halves, since labelling is divided between the network's process and worker processes:
    :meth:`raw_maps` runs the network, :meth:`merge` does the rest, on the maps of one image and the classes present
    alone.
    """

    @abstractmethod
    def raw_maps(self, model: Any, images: Sequence[np.ndarray], tags: Tensor, image_ids: Sequence[str] | None = None
                 ) -> list[list[Tensor]]:
        """The network's half.

        Args:
            model: The classifier in eval mode; its own data preprocessor normalises.
            images: N of ``(H, W, 3)`` uint8 RGB, all of one size.
            tags: ``(N, C)`` bool, the classes present.
            image_ids: Default: their numbers.

        Returns:
            For each image, for each scale ``(K, F, h, w)`` float32 on the CPU: its K classes, ascending, and F = 2
            with the map of the mirrored image, not mirrored back.
        """

    @abstractmethod
    def merge(self, raw: Sequence[Tensor], height: int, width: int) -> Tensor:
        """The workers' half: the maps of one image, ``(K, H', W')`` float32."""

    def trace(self, model: Any, image: np.ndarray, tags: Tensor, image_id: str = '0') -> Iterator[list[Tensor]]:
        """What :meth:`raw_maps` would give of one image after 1, 2, … steps, for localizers that work in steps.

        Args:
            model: The classifier in eval mode.
            image: ``(H, W, 3)`` uint8 RGB.
            tags: ``(C,)`` bool.
            image_id: The image's id.

        Yields:
            For each scale ``(K, F, h, w)``.
        """
        yield self.raw_maps(model, [image], tags[None], [image_id])[0]

    def class_maps(self, model: Any, images: Sequence[np.ndarray], tags: Tensor,
                   image_ids: Sequence[str] | None = None) -> list[ClassMaps]:
        """Class maps of a few images, both halves in one; arguments as of :meth:`raw_maps`.

        Returns:
            One per image.
        """
        ids = number_ids(images) if image_ids is None else image_ids
        height, width = images[0].shape[:2]
        return [ClassMaps(image_id, (present.nonzero().flatten() + 1).cpu().numpy(),
                          self.merge(raw, height, width).numpy(), height, width)
                for image_id, present, raw in zip(ids, tags, self.raw_maps(model, images, tags, ids), strict=True)]


def number_ids(images: Sequence) -> tuple[str, ...]:
    """Ids of images that have none: their numbers."""
    return tuple(str(i) for i in range(len(images)))
