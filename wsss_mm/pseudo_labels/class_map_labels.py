"""Pseudo labels from class maps of a classifier that learned from image tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.localization import Localizer, MultiScale, best_class
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ClassMaps, ImageSample, LabelResult


def background_scores(maps: Tensor, threshold: float = .15, background: str = 'threshold', alpha: float = 9.) -> Tensor:
    """Score of the background at every pixel.

    Args:
        maps: ``(K, H, W)`` in [0, 1].
        threshold: The constant score of ``'threshold'``.
        background: ``'threshold'``, or ``'power'``: ``(1 - max_k A_k)^alpha``.
        alpha: The power.

    Returns:
        ``(H, W)``.
    """
    if background == 'threshold':
        return maps.new_full(maps.shape[1:], threshold)
    return (1 - maps.amax(0)).clamp_min(0) ** alpha


class MapLabeller(LabelGenerator):
    """What generators of labels from class maps share: background, refiner, the best class of each pixel.

    Args:
        refiner: Config of a refiner (dense CRF) for the scores of background and classes present; None without.
        background: ``'threshold'``, a constant score; or ``'power'``, ``(1 - max_k A_k)^alpha`` (AEFT and PSA before
            their CRF).
        alpha: The power; AEFT's best is 9.

    Raises:
        ConfigError: another ``background``.
    """

    def __init__(self, refiner: dict | None = None, background: str = 'threshold', alpha: float = 9.) -> None:
        if background not in ('threshold', 'power'):
            raise ConfigError(f'{type(self).__name__}: background={background!r}',
                              expected="'threshold' or 'power'")
        self.refiner = None if refiner is None else TASK_UTILS.build(refiner)
        self.background, self.alpha = background, alpha

    def labels_of(self, image: np.ndarray, maps: Tensor, class_ids: np.ndarray, threshold: float) -> np.ndarray:
        """Label map of one image; of equal scores the background's wins, then the lower class's.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            maps: ``(K, h, w)`` in [0, 1]; enlarged bilinearly where smaller than the image.
            class_ids: ``(K,)`` segmentation ids.
            threshold: Score of the background.

        Returns:
            ``(H, W)`` uint8; all background without a class.
        """
        size = image.shape[:2]
        if not len(maps):
            return np.zeros(size, np.uint8)
        if tuple(maps.shape[1:]) != size:
            maps = F.interpolate(maps[None], size, mode='bilinear', align_corners=False)[0]
        scores = torch.cat([background_scores(maps, threshold, self.background, self.alpha)[None], maps])
        if self.refiner is not None:
            scores = torch.as_tensor(self.refiner(image, scores.numpy()))
        return np.concatenate([[0], class_ids]).astype(np.uint8)[best_class(scores).numpy()]


def untagged(sample: ImageSample) -> list[str]:
    """The manifest's note on an image without tags."""
    return [] if len(sample.tags) else ['no tags: all background']


@TASK_UTILS.register_module()
class ClassMapLabels(MapLabeller):
    """Class maps of the tagged classes against a background score; dense CRF if wanted.

    The network's process hands low-resolution maps of the present classes to the workers, which enlarge, fuse and
    label. Images of one size are run together where ``pseudo_labels.batch_size`` allows it.

    Args:
        localizer: Config of an :class:`~wsss_mm.localization.ImageLocalizer`, such as MultiScale, or of a localizer
            such as CAM or GradCAM, which is then run at the image's own size, once.
        threshold: Score of the background (IRN .15, VWE .14). None makes class maps alone, no labels, for
            :class:`SavedMapLabels` to choose a threshold by.
        refiner, background, alpha: As of :class:`MapLabeller`.
        save_maps: Keep the class maps, as float16.

    Raises:
        ConfigError: neither labels nor maps to make.
    """

    def __init__(self, localizer: dict, threshold: float | None = .15, refiner: dict | None = None,
                 background: str = 'threshold', alpha: float = 9., save_maps: bool = True) -> None:
        super().__init__(refiner, background, alpha)
        if threshold is None and not save_maps:
            raise ConfigError('ClassMapLabels: threshold=None with save_maps=False makes nothing',
                              fix='give a threshold, or save the maps')
        built = TASK_UTILS.build(localizer)
        self.localizer = MultiScale(built, scales=(1.,), flip=False) if isinstance(built, Localizer) else built
        self.threshold, self.save_maps = threshold, save_maps
        self.outputs = () if threshold is None else ('labels',)

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """Not used: the localizer needs the image itself, see :meth:`extract_batch`."""
        raise NotImplementedError

    def extract_batch(self, model: Any, images: Sequence[np.ndarray], inputs: Tensor, data_samples: Sequence[Any]
                      ) -> list[dict[str, Tensor]]:
        """``scale0``, ``scale1`` …: ``(K, F, h, w)``, see :meth:`MultiScale.raw_maps`.

        Raises:
            ConfigError: samples without tags.
        """
        for sample in data_samples:
            if 'gt_label' not in sample:
                raise ConfigError('ClassMapLabels: a sample has no `gt_label`', expected='multi-hot image tags (C,)',
                                  fix='put LoadWeakLabels into the pipeline of pseudo_labels.dataset')
        tags = torch.stack([sample.gt_label for sample in data_samples]) > 0
        return [{f'scale{i}': maps for i, maps in enumerate(raw)}
                for raw in self.localizer.raw_maps(model, images, tags, [sample.img_id for sample in data_samples])]

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels`` and the class maps; see the class."""
        raw = [features[f'scale{i}'] for i in range(len(features))]
        maps = self.localizer.merge(raw, sample.height, sample.width)
        labels = {} if self.threshold is None else dict(
            labels=self.labels_of(sample.image, maps, sample.tags, self.threshold))
        kept = ClassMaps(sample.image_id, sample.tags, maps.numpy(), sample.height, sample.width)
        return LabelResult(labels, untagged(sample), kept if self.save_maps else None)
