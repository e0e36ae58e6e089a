"""From a classifier and a batch to class maps: the interface of all localizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class Localizer(ABC):
    """One way of reading class maps off a trained classifier.

    Callers run it with gradients off and the model in eval mode; a localizer that needs gradients switches them on
    for itself, without a gradient for the parameters. It is sent to worker processes, so it holds settings only, no
    tensors and no model.
    """

    @abstractmethod
    def maps(self, model: Any, inputs: Tensor, tags: Tensor) -> Tensor:
        """Class maps of the classes present, from one forward.

        Args:
            model: A :class:`~wsss_mm.models.classifiers.CAMClassifier` in eval mode.
            inputs: ``(N, 3, H, W)``, normalised.
            tags: ``(N, C)`` bool, the classes present.

        Returns:
            ``(P, h, w)`` raw, signed maps of the P present (image, class) pairs, image by image, classes ascending.
        """
