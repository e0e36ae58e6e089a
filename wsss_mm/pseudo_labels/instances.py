"""Instances from a displacement field, and their files, as in IRN."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from wsss_mm.localization import best_class
from wsss_mm.pseudo_labels.irn_labels import IRNLabels
from wsss_mm.registry import TASK_UTILS
from wsss_mm.run_lengths import mask_api, run_lengths
from wsss_mm.structures import ImageSample, LabelResult


def move_to_centres(displacement: Tensor, moves: int = 300) -> Tensor:
    """Where each pixel ends that goes, again and again, where the displacement at its place points to.

    Between pixels the displacement is interpolated bilinearly; places stay on the map.

    Args:
        displacement: ``(2, h, w)`` dy, dx in pixels.
        moves: Number of moves.

    Returns:
        ``(2, h, w)`` y, x.
    """
    height, width = displacement.shape[1:]
    last = displacement.new_tensor([height - 1, width - 1])[:, None, None]
    place = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')).to(displacement)
    scale = 2 / last.clamp_min(1)
    for _ in range(moves):
        grid = (place * scale - 1).flip(0).permute(1, 2, 0)[None]
        step = F.grid_sample(displacement[None], grid, mode='bilinear', padding_mode='border', align_corners=True)[0]
        place = (place + step).clamp_min(0).minimum(last)
    return place


def group_pixels(displacement: Tensor, moves: int = 300, still: float = 2.5) -> Tensor:
    """Which instance each pixel is of: the centre it comes to.

    Centres are the areas (4-connected) where the displacement is shorter than ``still``. Pixels that do not come to any
    are one group of their own.

    Args:
        displacement: ``(2, h, w)`` dy, dx in pixels.
        moves: As of :func:`move_to_centres`.
        still: In pixels of the map.

    Returns:
        ``(h, w)`` int64, 0 … M - 1, without gaps.
    """
    areas, _ = ndimage.label((displacement.norm(dim=0) < still).numpy())
    y, x = move_to_centres(displacement, moves).round().long()
    return torch.from_numpy(areas).long()[y, x].unique(return_inverse=True)[1]


def split_maps(maps: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Class maps of single instances: a class map within a group, 0 elsewhere.

    Args:
        maps: ``(K, h, w)``, not negative.
        groups: ``(h, w)``, of :func:`group_pixels`.

    Returns:
        ``(J, h, w)`` maps that are not 0 everywhere, and ``(J,)`` int64, the number of the class map of each.
    """
    one_hot = F.one_hot(groups).permute(2, 0, 1)
    split = maps[:, None] * one_hot
    number, group = (split.amax((2, 3)) > 0).nonzero(as_tuple=True)
    return split[number, group], number


@TASK_UTILS.register_module()
class IRNInstances(IRNLabels):
    """The labels of :class:`IRNLabels`, and instances: ``instances/<image id>.json`` and, of all, ``instances.json``.

    Class maps are split by the centres that pixels are displaced to; each piece walks as the class maps do, all are
    divided by one maximum, and every pixel goes to the best piece or to the background. Each connected area of a piece
    is an instance, its score the highest value in it, or 0 if it is smaller than ``min_area`` of the image.

    ``instances.json`` is in COCO's format: category ids are segmentation ids, boxes ``x, y, width, height``, masks run
    lengths with ``counts`` as text. A stock ``CocoDataset`` reads it.

    Args:
        classes: Names of the classes 1 … C, for the categories.
        moves: As of :func:`move_to_centres`.
        still: As of :func:`group_pixels`.
        min_area: A part of the image.
        instance_threshold: Score of the background.
        image_suffix: Of the images' file names.
        **options: As of :class:`IRNLabels`.

    Raises:
        ConfigError: pycocotools is not installed.
    """

    def __init__(self, map_dir: str, classes: Sequence[str], moves: int = 300, still: float = 2.5,
                 min_area: float = .01, instance_threshold: float = .25, image_suffix: str = '.jpg', **options: Any
                 ) -> None:
        super().__init__(map_dir, **options)
        mask_api()
        self.classes, self.moves, self.still = tuple(classes), moves, still
        self.min_area, self.instance_threshold, self.image_suffix = min_area, instance_threshold, image_suffix

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """What :class:`IRNLabels` gives, and the image's instances."""
        result = super().label(sample, features, constants)
        found, boundary = self.saved.load(sample), features['boundary']
        groups = group_pixels(features['displacement'], self.moves, self.still)
        pieces, number = split_maps(self.start_maps(found, boundary), groups)
        scores = self.walk(pieces, boundary, int(constants['stride']), sample)
        instances = self.instances(scores, found.class_ids[number.numpy()])
        image = dict(id=sample.image_id, file_name=sample.image_id + self.image_suffix, height=sample.height,
                     width=sample.width)
        result.files[f'instances/{sample.image_id}.json'] = _json(dict(image=image, instances=instances))
        return result

    def instances(self, scores: Tensor, class_ids: np.ndarray) -> list[dict[str, Any]]:
        """COCO annotations, without ids, by falling score.

        Args:
            scores: ``(J, H, W)`` of the pieces.
            class_ids: ``(J,)`` segmentation ids.
        """
        if not len(scores):
            return []
        best = best_class(torch.cat([scores.new_full((1, *scores.shape[1:]), self.instance_threshold),
                                     scores])).numpy()
        found = []
        for piece in np.unique(best[best > 0]) - 1:
            areas, _ = ndimage.label(best == piece + 1)
            for number, window in enumerate(ndimage.find_objects(areas), 1):
                inside = areas[window] == number
                area = int(inside.sum())
                enough = area >= self.min_area * best.size
                found.append(dict(
                    category_id=int(class_ids[piece]), area=area, iscrowd=0,
                    score=round(float(scores[piece].numpy()[window][inside].max()), 6) if enough else 0.,
                    bbox=[window[1].start, window[0].start, window[1].stop - window[1].start,
                          window[0].stop - window[0].start],
                    segmentation=run_lengths(areas == number)))
        return sorted(found, key=lambda instance: -instance['score'])

    def gather(self, root: Path, ids: Sequence[str]) -> dict[str, bytes]:
        """``instances.json``, the instances of all images in COCO's format."""
        images, annotations = [], []
        for number, image_id in enumerate(ids, 1):
            found = json.loads((root / 'instances' / f'{image_id}.json').read_bytes())
            images.append({**found['image'], 'id': number})
            annotations += [{**instance, 'image_id': number} for instance in found['instances']]
        categories = [dict(id=i, name=name) for i, name in enumerate(self.classes, 1)]
        return {'instances.json': _json(dict(
            images=images, annotations=[{**a, 'id': i} for i, a in enumerate(annotations, 1)], categories=categories))}


def _json(content: Any) -> bytes:
    return (json.dumps(content, sort_keys=True) + '\n').encode()
