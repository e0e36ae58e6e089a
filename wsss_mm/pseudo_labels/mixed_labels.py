"""Pseudo labels of a training set whose images carry tags, or boxes, or masks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.models.heads.mixed_head import KINDS, kind_of
from wsss_mm.models.objectives import SegmentationBranch
from wsss_mm.pseudo_labels.bana import BANALabels
from wsss_mm.pseudo_labels.class_map_labels import ClassMapLabels
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult


@TASK_UTILS.register_module()
class MixedLabels(LabelGenerator):
    """Labels each image from what it carries: one run, one folder ``labels``.

    * Masks: the mask itself.
    * Boxes: Y_crf of :class:`BANALabels`.
    * Tags: :class:`ClassMapLabels`.

    What a :class:`SegmentationBranch` of the model has learnt from the masks can be averaged into the scores of the two
    others before their CRF: its softmax over the background and the image's classes, of the image and its mirror image
    at one scale. Outside boxes BANA's labels stay background. The manifest notes each image's kind.

    Args:
        boxes: Options of :class:`BANALabels`.
        tags: Options of :class:`ClassMapLabels`; it needs a refiner where the branch is averaged in.
        branch_weight: Share of the branch's probabilities; 0 leaves it out, and so does a model without a branch, or
            whose branch has seen no mask.

    Raises:
        ConfigError: a share outside [0, 1), no labels or no refiner for tags.
    """

    outputs = ('labels',)

    def __init__(self, boxes: dict, tags: dict, branch_weight: float = 0.) -> None:
        if not 0 <= branch_weight < 1:
            raise ConfigError(f'MixedLabels: branch_weight={branch_weight}', expected='0, or a share below 1')
        self.boxes, self.tags = BANALabels(**boxes), ClassMapLabels(**tags)
        if self.tags.threshold is None:
            raise ConfigError('MixedLabels: tags.threshold is None, which makes no labels', expected='a number')
        if branch_weight and self.tags.refiner is None:
            raise ConfigError(f'MixedLabels: branch_weight={branch_weight}, but tags has no refiner',
                              expected='a CRF that the averaged scores go through', fix='set tags.refiner')
        self.branch_weight = branch_weight

    def constants(self, model: Any) -> dict[str, Tensor]:
        """Those of :class:`BANALabels`."""
        return self.boxes.constants(model)

    def extract(self, model: Any, inputs: Tensor, data_sample: Any) -> dict[str, Tensor]:
        """Not used: class maps need the image itself, see :meth:`extract_batch`."""
        raise NotImplementedError

    def extract_batch(self, model: Any, images: Sequence[np.ndarray], inputs: Tensor, data_samples: Sequence[Any]
                      ) -> list[dict[str, Tensor]]:
        """What the image's kind needs, its ``kind`` as a number, and ``branch`` ``(C + 1, h, w)`` logits.

        Raises:
            ConfigError: samples without tags.
        """
        kinds = [kind_of(sample) for sample in data_samples]
        found: list[dict[str, Tensor]] = [dict(kind=torch.tensor(KINDS.index(kind))) for kind in kinds]
        for own, kind, sample in zip(found, kinds, data_samples, strict=True):
            if kind == 'masks':
                own['truth'] = sample.gt_sem_seg.data[0].to(torch.uint8).cpu()
        for i in (i for i, kind in enumerate(kinds) if kind == 'boxes'):
            found[i].update(self.boxes.extract(model, inputs[i:i + 1], data_samples[i]))
        tagged = [i for i, kind in enumerate(kinds) if kind == 'tags']
        if tagged:
            maps = self.tags.extract_batch(model, [images[i] for i in tagged], inputs[tagged],
                                           [data_samples[i] for i in tagged])
            for i, own in zip(tagged, maps, strict=True):
                found[i].update(own)
        self._add_branch(model, inputs, [own for own in found if 'truth' not in own],
                         [i for i, kind in enumerate(kinds) if kind != 'masks'])
        return found

    def _add_branch(self, model: Any, inputs: Tensor, found: list[dict[str, Tensor]], rows: list[int]) -> None:
        branches = [o for o in model.objectives if isinstance(o, SegmentationBranch) and o.images_seen > 0]
        if not (self.branch_weight and branches and rows):
            return
        chosen = inputs[rows]
        logits = branches[0].logits(model.extract_feat(torch.cat([chosen, chosen.flip(3)]))).float()
        plain, mirrored = logits.chunk(2)
        for own, image in zip(found, ((plain + mirrored.flip(3)) / 2).cpu(), strict=True):
            own['branch'] = image

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``, the kind as a note, and the class maps where the kind's part keeps them."""
        kind = KINDS[int(features['kind'])]
        rest = {name: value for name, value in features.items() if name not in ('kind', 'branch')}
        if kind == 'masks':
            return LabelResult(dict(labels=rest['truth'].numpy()), ['from its mask'])
        part: LabelGenerator = self.boxes if kind == 'boxes' else self.tags
        if 'branch' in features:
            classes = sample.box_labels if kind == 'boxes' else sample.tags
            part = copy.copy(part)
            part.refiner = _averaged(part.refiner, features['branch'], classes,   # type: ignore[attr-defined]
                                     self.branch_weight)
        found = part.label(sample, rest, constants)
        labels = found.labels['Y_crf' if kind == 'boxes' else 'labels']
        return LabelResult(dict(labels=labels), [f'from its {kind}', *found.notes], found.maps)


def _averaged(refiner: Callable, logits: Tensor, classes: np.ndarray, weight: float) -> Callable:
    """The refiner, given the mean of its scores and a branch's probabilities of background and ``classes``."""
    ids = torch.from_numpy(np.concatenate([[0], np.unique(classes)])).long()

    def refine(image: np.ndarray, scores: np.ndarray) -> np.ndarray:
        branch = F.interpolate(logits[ids][None], image.shape[:2], mode='bilinear', align_corners=False)[0].softmax(0)
        own = torch.from_numpy(scores)
        own = own / own.sum(0).clamp_min(1e-12)
        return refiner(image, ((1 - weight) * own + weight * branch).numpy())
    return refine
