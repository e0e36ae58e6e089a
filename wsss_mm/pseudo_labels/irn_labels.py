"""Pseudo labels by a random walk that stops at class boundaries, as in IRN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.files import png_bytes
from wsss_mm.localization import best_class
from wsss_mm.models.affinity import path_affinities, path_offsets
from wsss_mm.models.affinity.irn import IRNet
from wsss_mm.pseudo_labels.class_map_labels import untagged
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.saved_maps import SavedMaps
from wsss_mm.refinement import random_walk
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ClassMaps, ImageSample, LabelResult


def walk_from_boundary(maps: Tensor, boundary: Tensor, radius: int = 5, beta: float = 10., steps: int = 256) -> Tensor:
    """Spread class maps by a random walk over the affinities of a boundary map, starting away from the boundaries.

    ``(maps * (1 - boundary)) T^steps``, T from the affinities ``(1 - max boundary on the path)^beta``, see
    :func:`~wsss_mm.refinement.random_walk`.

    Args:
        maps: ``(K, h, w)``.
        boundary: ``(h, w)`` probabilities.
        radius: Of the neighbourhood, in pixels of the map.
        beta: Power of the affinities.
        steps: Of the walk.

    Returns:
        ``(K, h, w)``; no value is above the largest of ``maps``.
    """
    return random_walk(maps * (1 - boundary), path_affinities(boundary[None], radius)[0], path_offsets(radius), beta,
                       steps)


@TASK_UTILS.register_module()
class IRNLabels(LabelGenerator):
    """Labels from saved class maps, spread by a random walk that an :class:`~wsss_mm.models.affinity.IRNet` guides.

    The network sees the image and its mirror image at scale 1 and gives a boundary map at its stride (4). The class
    maps are brought to that size, taken to a power, walked, enlarged by the stride, cut to the image's size and divided
    by one maximum over all classes; the background's score is a constant.

    The published code starts from maps that its CAM step made at a quarter of the size. Saved maps of that size
    (``MultiScale(output='quarter')``) are taken as they are. Of larger ones the bilinear interpolation is: its values
    are those of the same scales, but the maximum that each map was divided by was taken at the full size, and before it
    was shrunk, so a map's peak may lie slightly below 1.

    Args:
        map_dir: Folder of the class maps, ``<out_dir>/maps`` of a finished run.
        beta: Power of the affinities.
        steps: Of the walk.
        radius: Of the walk's neighbourhood, in pixels of the boundary map.
        power: Of the class maps: IRN 1, AdvCAM and W-OoD 1.5, RIB 1.3.
        threshold: Score of the background: IRN and AdvCAM .25, RIB .27, W-OoD .22.
        pad_to: The network's input is padded, right and below, with zeros to at least this size: 512 as published,
            where group norms saw the padding, so it counts; 0 for none.
        divisor: And to a multiple of this.
        save_maps: Keep the walked maps, at the image's size and divided by their one maximum, as class maps.
        save_boundaries: Keep the boundary map, as ``boundaries/<image id>.png``, 8-bit grey, 255 for 1, at the size of
            the walk.
    """

    outputs = ('labels',)

    def __init__(self, map_dir: str, beta: float = 10., steps: int = 256, radius: int = 5, power: float = 1.,
                 threshold: float = .25, pad_to: int = 512, divisor: int = 16, save_maps: bool = True,
                 save_boundaries: bool = False) -> None:
        self.saved = SavedMaps(map_dir)
        self.beta, self.steps, self.radius = beta, steps, radius
        self.power, self.threshold = power, threshold
        self.pad_to, self.divisor = pad_to, divisor
        self.save_maps, self.save_boundaries = save_maps, save_boundaries

    def fingerprint(self) -> dict[str, str]:
        """See :meth:`SavedMaps.fingerprint`."""
        return self.saved.fingerprint()

    def constants(self, model: Any) -> dict[str, Tensor]:
        """``stride`` of the boundary map.

        Raises:
            ConfigError: the model is no IRNet.
        """
        if not isinstance(model, IRNet):
            raise ConfigError(f'{type(self).__name__} with a {type(model).__name__}', expected='wsss_mm.IRNet',
                              fix='take a config whose model is one, as configs/irn/affinity_cam_voc.py')
        return dict(stride=torch.tensor(float(model.stride)))

    def extract_batch(self, model: Any, images: Sequence[np.ndarray], inputs: Tensor, data_samples: Sequence[Any]
                      ) -> list[dict[str, Tensor]]:
        """``boundary (h, w)``, probabilities; ``displacement (2, h, w)``, dy and dx of the unmirrored image.

        Raises:
            ConfigError: the data preprocessor has padded the images.
        """
        height, width = images[0].shape[:2]
        if tuple(inputs.shape[2:]) != (height, width):
            raise ConfigError(f'the network input is {tuple(inputs.shape[2:])}, the images {(height, width)}',
                              expected='images at their own size, unpadded; IRNLabels pads itself',
                              fix='remove size or size_divisor from data_preprocessor.test_cfg')
        full = [-(-max(length, self.pad_to) // self.divisor) * self.divisor for length in (height, width)]
        padded = F.pad(torch.cat([inputs, inputs.flip(3)]), (0, full[1] - width, 0, full[0] - height))
        size = [-(-length // model.stride) for length in (height, width)]
        found = {name: maps[..., :size[0], :size[1]].float() for name, maps in model.predict(padded).items()}
        plain, mirrored = found['boundary'][:, 0].chunk(2)
        boundary = ((plain + mirrored.flip(2)) / 2).sigmoid().cpu()
        displacement = found['displacement'].chunk(2)[0].cpu()
        return [dict(boundary=b, displacement=d) for b, d in zip(boundary, displacement, strict=True)]

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """Not used: see :meth:`extract_batch`."""
        raise NotImplementedError

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``; all background without a tag. For the errors see :meth:`SavedMaps.load`."""
        boundary = features['boundary']
        found = self.saved.load(sample)
        maps = self.start_maps(found, boundary)
        walked = self.walk(maps, boundary, int(constants['stride']), sample)
        scores = torch.cat([walked.new_full((1, sample.height, sample.width), self.threshold), walked])
        labels = np.concatenate([[0], found.class_ids]).astype(np.uint8)[best_class(scores).numpy()]
        kept = ClassMaps(sample.image_id, found.class_ids, walked.numpy(), sample.height, sample.width)
        result = LabelResult(dict(labels=labels), untagged(sample), kept if self.save_maps else None)
        if self.save_boundaries:
            grey = (boundary * 255).round().to(torch.uint8).numpy()
            result.files[f'boundaries/{sample.image_id}.png'] = png_bytes(grey)
        return result

    def start_maps(self, found: ClassMaps, boundary: Tensor) -> Tensor:
        """The saved maps at the boundary map's size, to the power; ``(K, h, w)``."""
        maps = torch.from_numpy(found.maps)
        if maps.shape[1:] != boundary.shape and len(maps):
            maps = F.interpolate(torch.from_numpy(found.full_size().maps)[None], boundary.shape, mode='bilinear',
                                 align_corners=False)[0]
        return maps.reshape(-1, *boundary.shape) ** self.power

    def walk(self, maps: Tensor, boundary: Tensor, stride: int, sample: ImageSample) -> Tensor:
        """Walk, enlarge, cut, and divide by the one maximum.

        Args:
            maps: ``(K, h, w)``.
            boundary: ``(h, w)``.
            stride: Of both.
            sample: For its size.

        Returns:
            ``(K, H, W)`` float32 in [0, 1]; zeros where all maps are.
        """
        if not len(maps):
            return maps.new_zeros(0, sample.height, sample.width)
        walked = walk_from_boundary(maps, boundary, self.radius, self.beta, self.steps).float()
        walked = F.interpolate(walked[:, None], scale_factor=stride, mode='bilinear', align_corners=False)[:, 0]
        walked = walked[:, :sample.height, :sample.width]
        # All maps may be 0: 0 / 0 would make the whole image the first class.
        return walked / walked.max().clamp_min(torch.finfo(walked.dtype).tiny)
