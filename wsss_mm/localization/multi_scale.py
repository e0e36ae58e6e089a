"""Class maps of an image at several sizes and mirrored, merged into one per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization.localizer import ImageLocalizer, Localizer, Views, number_ids
from wsss_mm.registry import TASK_UTILS

_CHOICES = dict(relu=('before', 'after'), flip_fusion=('sum', 'max'), scale_fusion=('sum', 'max'),
                normalize=('max', 'minmax', 'none'), output=('full', 'quarter'))


@TASK_UTILS.register_module()
class MultiScale(ImageLocalizer):
    """Runs a localizer on an image at several scales, plain and mirrored, and merges what it finds.

    :meth:`raw_maps` runs the localizer once per scale, for all images and their mirror images. Images are resized as
    uint8 by Pillow's bicubic filter (which averages where it shrinks, as cv2 and PyTorch do not) to
    ``round(H·s) x round(W·s)``.

    As published: IRN (also AdvCAM, RIB, W-OoD) the defaults; AEFT ``relu='after', align16=False``; VWE
    ``flip_fusion='max'``.

    Args:
        localizer: Config of a :class:`Localizer`, or one.
        scales: Sizes of the network input relative to the image.
        flip: Run on the mirrored image too.
        flip_fusion: How plain and mirrored map become one, ``'sum'`` or ``'max'``.
        scale_fusion: How the scales become one, ``'sum'`` or ``'max'``.
        relu: ``'before'`` or ``'after'`` the maps are enlarged.
        normalize: ``'max'``: each class by ``max + eps``; ``'minmax'``: from its minimum to its maximum, likewise;
            ``'none'``: left as they are, not in [0, 1].
        eps: Keeps a map without a positive value at 0.
        output: ``'full'``, the image's size, or ``'quarter'``, ``ceil(H/4) x ceil(W/4)``, a sixteenth of the memory.
        align16: Enlarge to the next multiples of 16 and crop at the bottom right (published, where maps have stride
            16); False enlarges to the image's size. Concerns ``'full'`` alone.

    Raises:
        ConfigError: a choice that there is not, or a scale that is not positive.
    """

    def __init__(self, localizer: dict | Localizer, scales: Sequence[float] = (1., .5, 1.5, 2.), flip: bool = True,
                 flip_fusion: str = 'sum', scale_fusion: str = 'sum', relu: str = 'before', normalize: str = 'max',
                 eps: float = 1e-5, output: str = 'full', align16: bool = True) -> None:
        self._merging = dict(flip_fusion=flip_fusion, scale_fusion=scale_fusion, relu=relu, normalize=normalize,
                             output=output)
        for name, value in self._merging.items():
            if value not in _CHOICES[name]:
                raise ConfigError(f'MultiScale: {name}={value!r}', expected=f'one of {", ".join(_CHOICES[name])}')
        if not len(scales) or min(scales) <= 0:
            raise ConfigError(f'MultiScale: scales={tuple(scales)}', expected='one or more numbers above 0')
        self.localizer: Localizer = TASK_UTILS.build(localizer) if isinstance(localizer, dict) else localizer
        self.scales, self.flip, self.eps, self.align16 = tuple(scales), flip, eps, align16

    @torch.no_grad()
    def raw_maps(self, model: Any, images: Sequence[np.ndarray], tags: Tensor, image_ids: Sequence[str] | None = None
                 ) -> list[list[Tensor]]:
        """The network's half, see :meth:`ImageLocalizer.raw_maps`.

        Per scale the localizer sees N·2 images; a localizer of one forward costs ``2·Σs²`` times the network's cost
        at the image's size per image.

        Raises:
            DataError: images of different sizes, or not uint8.
            ConfigError: tags of another number of classes, or a data preprocessor that pads or does not normalise.
        """
        ids = number_ids(images) if image_ids is None else tuple(image_ids)
        tags, counts = tags.bool(), tags.bool().sum(1).tolist()
        found: list[list[Tensor]] = [[] for _ in images]
        for inputs, rows, views in self._inputs(model, images, tags, ids):
            maps = self._by_pair(self.localizer.maps(model, inputs, rows, views))
            for own, part in zip(found, maps.split(counts), strict=True):
                own.append(part)
        return found

    def trace(self, model: Any, image: np.ndarray, tags: Tensor, image_id: str = '0') -> Iterator[list[Tensor]]:
        """See :meth:`ImageLocalizer.trace`; a scale that needs fewer steps than others keeps its last maps."""
        scales = [self.localizer.trace(model, *views)
                  for views in self._inputs(model, [image], tags[None].bool(), (image_id,))]
        last: list[Tensor] = []
        while True:
            with torch.no_grad():
                step = [next(scale, None) for scale in scales]
            if all(maps is None for maps in step):
                return
            last = [last[i] if maps is None else self._by_pair(maps) for i, maps in enumerate(step)]
            yield last

    def _inputs(self, model: Any, images: Sequence[np.ndarray], tags: Tensor, ids: tuple[str, ...]
                ) -> Iterator[tuple[Tensor, Tensor, Views]]:
        """What the localizer is given at each scale."""
        if len({image.shape for image in images}) != 1 or images[0].dtype != np.uint8:
            raise DataError(f'images of the shapes {sorted({image.shape for image in images})}, {images[0].dtype}',
                            expected='(H, W, 3) uint8, all of one size', fix='hand them over size by size')
        if tags.shape[1] != model.head.num_classes:
            raise ConfigError(f'images with tags of {tags.shape[1]} classes, the classifier has '
                              f'{model.head.num_classes}', expected='the data set that it was trained on')
        for scale in self.scales:
            inputs = normalised(model, [resized(image, scale) for image in images])
            if self.flip:
                inputs = torch.cat([inputs, inputs.flip(3)])
            yield inputs, tags.to(inputs.device).repeat(1 + self.flip, 1), Views(ids, scale, self.flip)

    def _by_pair(self, maps: Tensor) -> Tensor:
        """``(F·P, h, w)``, images first -> ``(P, F, h, w)`` on the CPU."""
        maps, passes = maps.float().cpu(), 1 + self.flip
        return (maps.unflatten(0, (passes, -1)) if len(maps) else maps.new_zeros(passes, *maps.shape)).transpose(0, 1)

    def merge(self, raw: Sequence[Tensor], height: int, width: int) -> Tensor:
        """The workers' half: the maps of one image, ``(K, H', W')`` float32; see :func:`merge_maps`."""
        return merge_maps(raw, height, width, **self._merging, eps=self.eps, align16=self.align16)


def merge_maps(raw: Sequence[Tensor], height: int, width: int, flip_fusion: str = 'sum', scale_fusion: str = 'sum',
               relu: str = 'before', normalize: str = 'max', eps: float = 1e-5, output: str = 'full',
               align16: bool = True) -> Tensor:
    """Mirror back, enlarge (bilinear, corners not aligned), fuse and normalise the maps of one image.

    With ``relu='before'`` the two maps of a scale are fused at their own size and enlarged once:
    K·H·W per scale, which the result costs anyway; ``'after'`` enlarges both.

    Args:
        raw: Per scale ``(K, F, h, w)``, F = 2 where the second map is that of the mirrored image.
        height, width: The image's size.
        flip_fusion, scale_fusion, relu, normalize, eps, output, align16: As of :class:`MultiScale`.

    Returns:
        ``(K, H', W')``, the image's size or a quarter of it.
    """
    size = target = (height, width)
    if output == 'quarter':
        size = target = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    elif align16:
        target = (-(-height // 16) * 16, -(-width // 16) * 16)
    scales = [_enlarged(maps, target, relu, flip_fusion) for maps in raw]
    merged = _fused(torch.stack(scales), scale_fusion, 0)[:, :size[0], :size[1]]
    if normalize == 'none':
        return merged
    low = merged.amin((1, 2), keepdim=True) if normalize == 'minmax' else 0
    return (merged - low) / (merged.amax((1, 2), keepdim=True) - low + eps)


def _enlarged(maps: Tensor, target: tuple[int, int], relu: str, flip_fusion: str) -> Tensor:
    maps = torch.cat([maps[:, :1], maps[:, 1:].flip(3)], 1)
    if relu == 'before':
        maps = _fused(maps.relu(), flip_fusion, 1)[:, None]
    maps = F.interpolate(maps, target, mode='bilinear', align_corners=False)   # also of no class
    return maps[:, 0] if relu == 'before' else _fused(maps.relu(), flip_fusion, 1)


def _fused(maps: Tensor, how: str, dim: int) -> Tensor:
    return maps.sum(dim) if how == 'sum' else maps.amax(dim)


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """An RGB image at ``round(H·s) x round(W·s)``, by Pillow's bicubic filter."""
    height, width = (max(1, round(n * scale)) for n in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def normalised(model: Any, images: list[np.ndarray]) -> Tensor:
    """RGB images of one size -> ``(N, 3, h, w)`` as the model's own data preprocessor makes it."""
    bgr = [torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy()) for image in images]
    inputs = model.data_preprocessor(dict(inputs=bgr, data_samples=[BaseDataElement() for _ in bgr]), False)['inputs']
    expected = (len(images), 3, *images[0].shape[:2])
    if not isinstance(inputs, Tensor) or tuple(inputs.shape) != expected or not inputs.is_floating_point():
        got = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ConfigError(f'the data preprocessor makes {got} of images {expected}',
                          expected='a normalised tensor of the same size, unpadded',
                          fix='use a SegDataPreProcessor, without size or size_divisor in its test_cfg')
    return inputs
