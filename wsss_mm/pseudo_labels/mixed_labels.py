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
from wsss_mm.localization import best_class
from wsss_mm.models.heads.mixed_head import KINDS, kind_of
from wsss_mm.models.objectives import SegmentationBranch
from wsss_mm.pseudo_labels.bana import BANALabels
from wsss_mm.pseudo_labels.class_map_labels import ClassMapLabels, untagged
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult


@TASK_UTILS.register_module()
class MixedLabels(LabelGenerator):
    """Labels each image from what it carries: one run, one folder ``labels``.

    * Masks: the mask itself.
    * Boxes: Y_crf of :class:`BANALabels`.
    * Tags: the head's softmax over the background and the image's classes, of the image and its mirror image at one
      scale, through the CRF. It needs what images with boxes or masks teach the head of the background; where there are
      none, ``tags`` asks for :class:`ClassMapLabels`.

    What a :class:`SegmentationBranch` has learnt from the masks can be averaged into the scores of the two last before
    their CRF, its softmax of the same two views. Outside boxes BANA's labels stay background. The manifest notes each
    image's kind.

    Args:
        refiner: Config of the CRF.
        boxes: Options of :class:`BANALabels` but the refiner.
        tags: Options of :class:`ClassMapLabels` but the refiner; None takes the head's softmax.
        branch_weight: Share of the branch's probabilities; 0 leaves it out, and so does a model without a branch, or
            whose branch has seen no mask.

    Raises:
        ConfigError: a share outside [0, 1), or ``tags`` that make no labels.
    """

    outputs = ('labels',)

    def __init__(self, refiner: dict, boxes: dict | None = None, tags: dict | None = None, branch_weight: float = 0.
                 ) -> None:
        if not 0 <= branch_weight < 1:
            raise ConfigError(f'MixedLabels: branch_weight={branch_weight}', expected='0, or a share below 1')
        self.boxes = BANALabels(refiner=refiner, **(boxes or {}))
        self.tags = None if tags is None else ClassMapLabels(refiner=refiner, **tags)
        if self.tags is not None and self.tags.threshold is None:
            raise ConfigError('MixedLabels: tags.threshold is None, which makes no labels', expected='a number')
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
            ConfigError: samples without tags, or a head without a background to take the softmax over.
        """
        kinds = [kind_of(sample) for sample in data_samples]
        rows = {kind: [i for i, own in enumerate(kinds) if own == kind] for kind in KINDS}
        found: list[dict[str, Tensor]] = [dict(kind=torch.tensor(KINDS.index(kind))) for kind in kinds]
        for i in rows['masks']:
            found[i]['truth'] = data_samples[i].gt_sem_seg.data[0].to(torch.uint8).cpu()
        for i in rows['boxes']:
            found[i].update(self.boxes.extract(model, inputs[i:i + 1], data_samples[i]))
        if self.tags is not None and rows['tags']:
            maps = self.tags.extract_batch(model, [images[i] for i in rows['tags']], inputs[rows['tags']],
                                           [data_samples[i] for i in rows['tags']])
            for i, own in zip(rows['tags'], maps, strict=True):
                found[i].update(own)
        elif rows['tags']:
            for i, logits in zip(rows['tags'], _both_views(model, inputs[rows['tags']], _head_logits), strict=True):
                found[i]['logits'] = logits
        branch = self._branch(model)
        guessed = rows['tags'] + rows['boxes']
        if branch is not None and guessed:
            seen = _both_views(model, inputs[guessed], lambda model, feats: branch.logits(feats))
            for i, logits in zip(guessed, seen, strict=True):
                found[i]['branch'] = logits
        return found

    def _branch(self, model: Any) -> SegmentationBranch | None:
        trained = [o for o in model.objectives if isinstance(o, SegmentationBranch) and o.images_seen > 0]
        return trained[0] if trained and self.branch_weight else None

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels``, the kind as a note, and the class maps where the kind's part keeps them."""
        kind = KINDS[int(features['kind'])]
        if kind == 'masks':
            return LabelResult(dict(labels=features['truth'].numpy()), ['from its mask'])
        refiner = self.boxes.refiner
        if 'branch' in features:
            refiner = _averaged(refiner, features['branch'], sample.box_labels if kind == 'boxes' else sample.tags,
                                self.branch_weight)
        if kind == 'tags' and self.tags is None:
            ids, probabilities = _probabilities(features['logits'], sample.tags, sample.image.shape)
            posterior = refiner(sample.image, probabilities.numpy()) if len(sample.tags) else probabilities
            labels = ids[best_class(torch.as_tensor(posterior))].to(torch.uint8).numpy()
            return LabelResult(dict(labels=labels), ['from its tags', *untagged(sample)])
        part: Any = copy.copy(self.boxes if kind == 'boxes' else self.tags)
        part.refiner = refiner
        rest = {name: value for name, value in features.items() if name not in ('kind', 'branch')}
        found = part.label(sample, rest, constants)
        labels = found.labels['Y_crf' if kind == 'boxes' else 'labels']
        return LabelResult(dict(labels=labels), [f'from its {kind}', *found.notes], found.maps)


def _head_logits(model: Any, feats: Sequence[Tensor]) -> Tensor:
    """``(N, C + 1, h, w)``, background first."""
    weight = model.head.weight_matrix
    if len(weight) == model.head.num_classes:
        raise ConfigError(f'MixedLabels: {type(model.head).__name__} knows no background',
                          expected='wsss_mm.MixedHead or wsss_mm.BAPHead',
                          fix='set tags=dict(localizer=…, threshold=…)')
    return F.conv2d(model.head.select(feats), weight[:, :, None, None])


def _both_views(model: Any, inputs: Tensor, logits_of: Callable[[Any, Sequence[Tensor]], Tensor]) -> Tensor:
    """Mean logits ``(N, C + 1, h, w)`` of the images and of their mirror images, mirrored back; on the CPU."""
    plain, mirrored = logits_of(model, model.extract_feat(torch.cat([inputs, inputs.flip(3)]))).float().chunk(2)
    return ((plain + mirrored.flip(3)) / 2).cpu()


def _probabilities(logits: Tensor, classes: np.ndarray, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Ids ``(K + 1,)`` of the background and the classes, and their softmax ``(K + 1, H, W)`` at the image's size."""
    ids = torch.from_numpy(np.concatenate([[0], np.unique(classes)])).long()
    enlarged = F.interpolate(logits[ids][None], tuple(size[:2]), mode='bilinear', align_corners=False)[0]
    return ids, enlarged.softmax(0)


def _averaged(refiner: Callable, logits: Tensor, classes: np.ndarray, weight: float) -> Callable:
    """The refiner, given the mean of its scores and a branch's probabilities of background and ``classes``."""

    def refine(image: np.ndarray, scores: np.ndarray) -> np.ndarray:
        own = torch.from_numpy(scores)
        own = own / own.sum(0).clamp_min(1e-12)
        _, branch = _probabilities(logits, classes, image.shape)
        return refiner(image, ((1 - weight) * own + weight * branch).numpy())
    return refine
