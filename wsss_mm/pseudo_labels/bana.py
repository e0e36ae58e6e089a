"""Box-supervised pseudo labels of BANA (Oh et al., CVPR 2021, Sec. 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization import (
    UpsampledFeatures,
    background_attention,
    background_class_map,
    best_class,
    box_class_maps,
    box_masks,
    crf_input,
    crf_labels,
    pixel_boxes,
    retrieval_maps,
    smallest_box,
    threshold_background,
)
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ClassMaps, ImageSample, LabelResult


@TASK_UTILS.register_module()
class BANALabels(LabelGenerator):
    """Y_crf (dense CRF on background attention and class maps) and Y_ret (retrieval with prototypes of Y_crf).

    The defaults are those of the published labels. The CRF of the VGG16 labels is
    ``DenseCRF(bilateral_weight=4, bilateral_xy=55, bilateral_rgb=3, gaussian_weight=3, gaussian_xy=3)``.

    Args:
        refiner: Config of the CRF.
        grid_size: N of the N x N background queries.
        rel_threshold: Lower background attention is set to 0.
        threshold_mode: ``'relative'`` to the image's maximum (published code) or ``'absolute'`` (paper).
        box_max: Class maps are divided by their maximum ``'per_box'`` (published code) or ``'per_class'`` (paper).
        unary_softmax: Softmax over the scores inside boxes before the CRF (published code); False concatenates (paper).
        background: Map of the background inside boxes. ``'attention'`` is u_0; ``'class_map'`` puts the class map of
            the background class in its place, the paper's "Y_crf w/o u_0"; ``'zero'`` leaves the boxes to u_c alone.
        class_agnostic: For classes the classifier never saw (the paper's VOC-to-COCO): 1 - u_0 in each box stands for
            its class, in the smallest box where boxes overlap (the paper does not say), and the prototype of a class
            without a pixel in Y_crf is the mean feature weighted by that map.
        box_rounding: ``'official'`` or ``'exact'``, see :func:`wsss_mm.localization.pixel_boxes`.
        save_maps: Keep u_c and u_0 of each image for the report.

    Raises:
        ConfigError: an unknown ``background``, or ``class_agnostic`` without u_0.
    """

    outputs = ('Y_crf', 'Y_ret')

    def __init__(self, refiner: dict, grid_size: int = 1, rel_threshold: float = .99, threshold_mode: str = 'relative',
                 box_max: str = 'per_box', unary_softmax: bool = True, background: str = 'attention',
                 class_agnostic: bool = False, box_rounding: str = 'official', save_maps: bool = False) -> None:
        if background not in ('attention', 'class_map', 'zero'):
            raise ConfigError(f'background={background!r}', expected="'attention', 'class_map' or 'zero'")
        if class_agnostic and background != 'attention':
            raise ConfigError(f'class_agnostic=True with background={background!r}: the classifier knows no class to '
                              'make maps of', fix="set background='attention'")
        self.refiner = TASK_UTILS.build(refiner)
        self.grid_size, self.rel_threshold, self.threshold_mode = grid_size, rel_threshold, threshold_mode
        self.box_max, self.unary_softmax, self.background = box_max, unary_softmax, background
        self.class_agnostic, self.box_rounding, self.save_maps = class_agnostic, box_rounding, save_maps

    def constants(self, model: Any) -> dict[str, Tensor]:
        """``weight``: ``(C + 1, D)``, background first; a zero row where the head has no background class."""
        weight = model.head.weight_matrix.detach().float().cpu()
        if len(weight) == model.head.num_classes:
            weight = torch.cat([torch.zeros_like(weight[:1]), weight])
        return dict(weight=weight)

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """``features``: ``(D, h, w)``, the map that the head pools.

        Raises:
            ConfigError: the input is padded, so the map would cover more than the image.
        """
        shape = tuple(data_sample.metainfo.get('img_shape', inputs.shape[2:])[:2])
        if tuple(inputs.shape[2:]) != shape:
            raise ConfigError(f'the network input is {tuple(inputs.shape[2:])}, the image {shape}: it was padded',
                              expected='the image at its own size, unpadded',
                              fix='remove size or size_divisor from data_preprocessor.test_cfg')
        return dict(features=model.extract_feat(inputs)[model.head.in_index][0].float().cpu())

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """Y_crf and Y_ret of one image.

        Raises:
            DataError: a box of a class beyond the classifier's (without ``class_agnostic``).
        """
        height, width = sample.height, sample.width
        class_ids, index = torch.from_numpy(sample.box_labels).long().unique(return_inverse=True)
        notes: list[str] = []
        if not len(class_ids):
            empty = torch.zeros(height, width)
            return self._result(sample, class_ids, empty.long(), empty.long(), 1 - empty, empty[None][:0], notes)

        boxes = pixel_boxes(torch.from_numpy(sample.boxes), height, width, self.box_rounding)
        inside = box_masks(boxes, index, len(class_ids), height, width)
        background = ~inside.any(0)
        upsampled = UpsampledFeatures(features['features'], height, width)
        norm = upsampled.norm()

        u_0 = background.float()
        if self.background == 'class_map':
            u_0 = background_class_map(upsampled, constants['weight'][0], background)
        elif self.background == 'attention' and background.any():
            attention = background_attention(upsampled, background, self.grid_size, norm)
            u_0 = threshold_background(attention, background, self.rel_threshold, self.threshold_mode)
        elif self.background == 'attention':
            notes.append('no pixel outside the boxes: background attention set to 0 inside them')

        if self.class_agnostic:
            owner = smallest_box(boxes, height, width)
            owned = torch.where(owner < 0, -1, index[owner]) == torch.arange(len(class_ids))[:, None, None]
            u_c = (1 - u_0) * owned
            fallback = upsampled.masked_mean(torch.cat([u_0[None], u_c]))
        else:
            weight = constants['weight']
            if class_ids[-1] >= len(weight):
                raise DataError(f'{sample.image_id}: a box of class {class_ids[-1]}, the classifier has '
                                f'{len(weight) - 1}', fix='train the classifier on these classes, or set '
                                'generator.class_agnostic=True')
            u_c = box_class_maps(upsampled, weight[class_ids], boxes, index, self.box_max)
            fallback = weight[torch.cat([class_ids.new_zeros(1), class_ids])]

        scores = crf_input(u_0, u_c, background, self.unary_softmax)
        posterior = torch.as_tensor(self.refiner(sample.image, scores.numpy()))
        y_crf = crf_labels(posterior, inside)
        y_ret = best_class(retrieval_maps(upsampled, y_crf, fallback, inside, norm))
        return self._result(sample, class_ids, y_crf, y_ret, u_0, u_c, notes)

    def _result(self, sample: ImageSample, class_ids: Tensor, y_crf: Tensor, y_ret: Tensor, u_0: Tensor, u_c: Tensor,
                notes: list[str]) -> LabelResult:
        ids = torch.cat([class_ids.new_zeros(1), class_ids]).to(torch.uint8)
        maps = ClassMaps(sample.image_id, class_ids.numpy(), u_c.numpy(), sample.height, sample.width,
                         background=u_0.numpy()) if self.save_maps else None
        return LabelResult(dict(Y_crf=ids[y_crf].numpy(), Y_ret=ids[y_ret].numpy()), notes, maps)
