"""The interface between the labelling run and the methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from wsss_mm.structures import ImageSample, LabelResult


class LabelGenerator(ABC):
    """Makes pseudo labels of one image, in two parts.

    :meth:`extract` is the network's part and runs where the model is; :meth:`label` is the rest (maps, CRF, argmax)
    and runs in worker processes on one thread each, so it must be picklable, deterministic and free of the model.

    Attributes:
        outputs: Names of the label maps it writes, one folder each.
        needs_model: False for baselines that look at the boxes alone.
    """

    outputs: tuple[str, ...] = ()
    needs_model: bool = True

    def constants(self, model: Any) -> dict[str, Tensor]:
        """Tensors that every image needs (classifier weights), sent to each worker once.

        Args:
            model: The trained model; None where the generator needs none.
        """
        return {}

    def fingerprint(self) -> dict[str, str]:
        """Hashes of what else decides the labels, by name; a run whose inputs have changed is refused by them."""
        return {}

    def gather(self, root: Path, ids: Sequence[str]) -> Mapping[str, bytes | Iterable[bytes]]:
        """Files of the whole run, made once when every image is labelled, such as one JSON of all instances.

        Args:
            root: The run's folder, with the files of all images.
            ids: All image ids, sorted.

        Returns:
            Content by path below ``root``, whole or in pieces that are made as they are written.
        """
        return {}

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """Run the network on one image.

        Args:
            model: The trained model in eval mode; gradients are off.
            inputs: ``(1, 3, H', W')`` as the model's data preprocessor gives it.
            data_sample: The image's ``SegDataSample``.

        Returns:
            CPU float32 tensors for :meth:`label`.
        """
        return {}

    def extract_batch(self, model: Any, images: Sequence[np.ndarray], inputs: Tensor, data_samples: Sequence[Any]
                      ) -> list[dict[str, Tensor]]:
        """Run the network on images of one size; here one by one.

        Args:
            model: The trained model in eval mode; gradients are off.
            images: N of ``(H, W, 3)`` uint8 RGB, the images' own size.
            inputs: ``(N, 3, H', W')`` as the model's data preprocessor gives it.
            data_samples: N of ``SegDataSample``.

        Returns:
            For each image what :meth:`extract` returns.
        """
        return [self.extract(model, inputs[i:i + 1], sample) for i, sample in enumerate(data_samples)]

    @abstractmethod
    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """Make the label maps at the image's own size.

        Args:
            sample: The image and its weak labels.
            features: What :meth:`extract` returned, without the batch dimension handled here.
            constants: What :meth:`constants` returned.
        """
