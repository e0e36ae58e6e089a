"""Scaling and cropping of images together with boxes and all label maps."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import Resize

from wsss_mm.errors import ConfigError
from wsss_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomScale(Resize):
    """Scale by one random factor: image bilinearly, label maps nearest, boxes with them.

    mmcv's ``RandomResize`` scales towards one fixed size; here the factor is of the image's own size, which is what
    box methods draw (BANA: [0.5, 1.5]). The factors for boxes are those of the rounded size, so that boxes and maps
    stay on each other.

    Args:
        ratio_range: Smallest and largest factor.
    """

    def __init__(self, ratio_range: tuple[float, float] = (0.5, 1.5)) -> None:
        low, high = ratio_range
        if not 0 < low <= high:
            raise ConfigError(f'ratio_range is {ratio_range}', expected='0 < smallest <= largest')
        super().__init__(scale=(1, 1))
        self.ratio_range = (low, high)

    @cache_randomness
    def _ratio(self) -> float:
        return np.random.uniform(*self.ratio_range)

    def transform(self, results: dict) -> dict:
        """Scale ``img``, ``gt_bboxes`` and every map in ``seg_fields``."""
        height, width = results['img'].shape[:2]
        ratio = self._ratio()
        self.scale = max(1, round(width * ratio)), max(1, round(height * ratio))
        return super().transform(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ratio_range={self.ratio_range})'


@TRANSFORMS.register_module()
class RandomLongSide(Resize):
    """Scale so that the long side becomes a uniform integer (IRN and VWE [320, 640], AEFT [256, 512]).

    The other side is its length times the same factor, rounded half to even. The image is resized by Pillow's bicubic
    filter, which averages where it shrinks, as in these methods' code (OpenCV's does not); label maps are taken from
    the nearest pixel and boxes scaled by the factors of the rounded size.

    Args:
        low, high: Smallest and largest long side in pixels, both included.
    """

    def __init__(self, low: int, high: int) -> None:
        if not 1 <= low <= high:
            raise ConfigError(f'the long side is from {low} to {high}', expected='1 <= smallest <= largest')
        super().__init__(scale=(1, 1), backend='pillow', interpolation='bicubic')
        self.low, self.high = low, high

    @cache_randomness
    def _long_side(self) -> int:
        return np.random.randint(self.low, self.high + 1)

    def transform(self, results: dict) -> dict:
        """Scale ``img``, ``gt_bboxes`` and every map in ``seg_fields``."""
        height, width = results['img'].shape[:2]
        factor = self._long_side() / max(height, width)
        self.scale = max(1, round(width * factor)), max(1, round(height * factor))
        return super().transform(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(low={self.low}, high={self.high})'


@TRANSFORMS.register_module()
class RandomCropWithBoxes(BaseTransform):
    """Crop a random window of a fixed size; smaller images are padded.

    Boxes are shifted and clipped to the window; those without overlap go. The tags in ``gt_label`` stay those of the
    whole image.

    Args:
        crop_size: Side, or (height, width).
        image_pad: Padding colour in BGR, by default the mean of ImageNet as BANA and DeepLab round it. For zeros after
            normalisation, up to the rounding, take the preprocessor's own mean, as ``image_pad`` of
            ``configs/_base_/voc12_tags.py``.
        label_pad: Padding of every map in ``seg_fields``.
        min_visible: Drop boxes of which less than this many pixels in width or height are left; 0 keeps every
            sliver, as BANA does.
        placement: Where images smaller than the window lie in it: ``'center'``, an odd deficit with its larger half
            in front, as in BANA's code; or ``'random'``, each place alike, as in IRN's, VWE's and AEFT's.
    """

    def __init__(self, crop_size: int | tuple[int, int], image_pad: tuple[int, int, int] = (104, 117, 123),
                 label_pad: int = 255, min_visible: float = 0., placement: str = 'center') -> None:
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise ConfigError(f'crop_size is {crop_size!r}', expected='a side, or (height, width), in pixels')
        if placement not in ('center', 'random'):
            raise ConfigError(f'placement is {placement!r}', expected="'center' or 'random'")
        self.placement = placement
        self.image_pad = tuple(image_pad)
        self.label_pad = label_pad
        self.min_visible = min_visible

    @cache_randomness
    def _offset(self, margin: int) -> int:
        return np.random.randint(0, margin + 1)

    def transform(self, results: dict) -> dict:
        """Crop ``img``, every map in ``seg_fields``, ``gt_bboxes`` and ``gt_bboxes_labels``."""
        shape = results['img'].shape[:2]
        # Position of the image's corner in the window: padding in front is positive, a cut negative.
        corner = [self._corner(length, side) for length, side in zip(shape, self.crop_size, strict=True)]
        results['img'] = self._window(results['img'], corner, self.image_pad)
        for key in results.get('seg_fields', []):
            results[key] = self._window(results[key], corner, self.label_pad)
        results['img_shape'] = results['pad_shape'] = self.crop_size
        if results.get('gt_bboxes') is not None:
            self._crop_boxes(results, corner)
        return results

    def _corner(self, length: int, side: int) -> int:
        if length < side:
            return (side - length + 1) // 2 if self.placement == 'center' else self._offset(side - length)
        return -self._offset(length - side)

    def _window(self, source: np.ndarray, corner: list[int], fill: int | tuple[int, ...]) -> np.ndarray:
        inner, outer = [], []
        for start, length, side in zip(corner, source.shape, self.crop_size, strict=False):
            stop = min(start + length, side)
            first = max(start, 0)
            inner.append(slice(first, stop))
            outer.append(slice(first - start, stop - start))
        target = np.empty(self.crop_size + source.shape[2:], source.dtype)
        if any(length < side for length, side in zip(source.shape, self.crop_size, strict=False)):
            target[...] = fill
        target[tuple(inner)] = source[tuple(outer)]
        return target

    def _crop_boxes(self, results: dict, corner: list[int]) -> None:
        height, width = self.crop_size
        shift = np.array([corner[1], corner[0]] * 2, np.float32)
        boxes = np.clip(results['gt_bboxes'] + shift, 0, np.array([width, height] * 2)).astype(np.float32)
        visible = boxes[:, 2:] - boxes[:, :2]
        kept = ((visible > 0) & (visible >= self.min_visible)).all(1)
        results['gt_bboxes'] = boxes[kept]
        if 'gt_bboxes_labels' in results:
            results['gt_bboxes_labels'] = results['gt_bboxes_labels'][kept]

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(crop_size={self.crop_size}, image_pad={self.image_pad}, '
                f'label_pad={self.label_pad}, min_visible={self.min_visible}, '
                f'placement={self.placement!r})')
