"""The one place that touches the inner parts of mmdet's two-stage detectors."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_mm.errors import ConfigError

_WORKS = ("mmdet's two-stage detectors with a BBoxHead and boxes as offsets: Faster R-CNN, Mask R-CNN and their kin "
          'with FPN or on one level, and Cascade R-CNN')
# Offsets in these units are those of the published detector, so that weights of the loss keep their meaning.
_UNIT = (.1, .1, .2, .2)


@dataclass
class RoIPlan:
    """RoIs that stay where they are, with the pyramid level of each.

    Attributes:
        rois: For each stage ``(R, 5)``, number of the input in the batch and box.
        pieces: For each stage the levels in use, each with the RoIs on it; None: the detector's own way is used.
        back: For each stage ``(R,)``, where each RoI is in the pieces put together; None: in order.
        levels: The levels in use by any stage; None: all.
    """

    rois: list[Tensor]
    pieces: list[list[tuple[int, Tensor]]] | None
    back: list[Tensor | None]
    levels: tuple[int, ...] | None


def check_detector(model: Any) -> None:
    """Refuse a detector whose boxes cannot be explained.

    Raises:
        ConfigError: with what it is and what works.
    """
    from mmdet.models import BBoxHead, CascadeRoIHead, StandardRoIHead, TwoStageDetector
    from mmdet.models.roi_heads import MultiInstanceRoIHead, TridentRoIHead
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

    def refuse(what: str) -> None:
        raise ConfigError(f'{what} cannot be explained', expected=_WORKS)
    if not isinstance(model, TwoStageDetector) or not model.with_roi_head:
        refuse(f'a {type(model).__name__}')
    roi_head = model.roi_head
    own = CascadeRoIHead if isinstance(roi_head, CascadeRoIHead) else StandardRoIHead
    if not isinstance(roi_head, own) or isinstance(roi_head, MultiInstanceRoIHead | TridentRoIHead) \
            or (own is CascadeRoIHead and type(roi_head)._bbox_forward is not CascadeRoIHead._bbox_forward):
        refuse(f'a {type(model).__name__} with a {type(roi_head).__name__}')
    heads = list(roi_head.bbox_head) if own is CascadeRoIHead else [roi_head.bbox_head]
    for head in heads:
        if not isinstance(head, BBoxHead):
            refuse(f'a {type(head).__name__}')
        # SABL's head is one of these, but has no offsets
        if getattr(head, 'with_reg', True) and not isinstance(head.bbox_coder, DeltaXYWHBBoxCoder):
            refuse(f'a head whose boxes are coded by {type(head.bbox_coder).__name__}')
        if own is CascadeRoIHead and not head.with_reg:
            refuse('a cascade without offsets')


class DetectorAdapter:
    """A frozen copy of a detector that predicts classes and offsets for given RoIs.

    The model itself is not changed: the copy is in eval mode, needs no gradients of weights, has its batch norms folded
    into the convolutions and its weights in the channels-last layout. The proposal network does not run. Of a plain FPN
    only the levels in use are computed, and RoI layers are called with RoIs sorted by level once. Each of the three is
    compared with the detector's own way on the first input, and left out where results differ.

    Args:
        model: A detector that :func:`check_detector` accepts.
        example: ``(1, 3, H, W)`` normalised input for the comparison.
        amp: bfloat16 autocast of backbone and neck.
        plain: True: none of the accelerations, for comparison.
    """

    def __init__(self, model: Any, example: Tensor, amp: bool = False, plain: bool = False) -> None:
        from mmdet.models import CascadeRoIHead
        check_detector(model)
        self.amp, self.cascade = False, isinstance(model.roi_head, CascadeRoIHead)
        self._use(copy.deepcopy(model).eval().requires_grad_(False))
        self.num_classes = self.heads[-1].num_classes
        self.with_boxes = self.heads[-1].with_reg
        if not self.with_boxes:
            warnings.warn('the detector has no head for boxes: the box term of the loss is left out', stacklevel=3)
        stds = self.heads[-1].bbox_coder.stds if self.with_boxes else _UNIT
        self.delta_scale = example.new_tensor(stds) / example.new_tensor(_UNIT)
        self.static = self.lazy = False
        if not plain:
            self._accelerate(example)
        self.amp = amp

    def _accelerate(self, example: Tensor) -> None:
        from mmcv.cnn import fuse_conv_bn
        from mmdet.models import FPN, CascadeRoIHead, SingleRoIExtractor, StandardRoIHead, TwoStageDetector
        roi_head = self.model.roi_head
        own = CascadeRoIHead if self.cascade else StandardRoIHead
        static = all(type(x) is SingleRoIExtractor for x in self.extractors) \
            and type(roi_head)._bbox_forward is own._bbox_forward
        # a neck's last levels may be made of others; lazily only those with a lateral are
        lazy = static and type(self.model).extract_feat is TwoStageDetector.extract_feat \
            and self.model.with_neck and type(self.model.neck) is FPN \
            and max(x.num_inputs for x in self.extractors) <= len(self.model.neck.lateral_convs)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            unfolded, before = self.model, self.features(example)
            # folding makes new parameters, which need gradients
            self._use(fuse_conv_bn(copy.deepcopy(self.model)).requires_grad_(False).to(
                memory_format=torch.channels_last))
            if not all(map(_close, before, self.features(example))):
                self._use(unfolded.to(memory_format=torch.channels_last))
            self._check_ways(example, static, lazy)

    def _use(self, model: Any) -> None:
        self.model = model
        roi_head = model.roi_head
        self.heads: list[Any] = list(roi_head.bbox_head) if self.cascade else [roi_head.bbox_head]
        extractors = roi_head.bbox_roi_extractor
        self.extractors: list[Any] = list(extractors) if self.cascade else [extractors]

    def _check_ways(self, example: Tensor, static: bool, lazy: bool) -> None:
        height, width = example.shape[2:]
        sides = torch.tensor([[1., 1.], [.5, .4], [.2, .3], [.1, .1]]) * torch.tensor([width, height])
        boxes = torch.cat([torch.zeros_like(sides), sides], 1).to(example)
        number = torch.zeros(len(boxes), dtype=torch.long, device=example.device)
        features = self.features(example)
        usual = self.plan([boxes] * len(self.heads), number)
        expected = self.predict(features, usual)
        for name in [n for n, works in (('static', static), ('lazy', lazy)) if works]:
            setattr(self, name, True)
            plan = self.plan([boxes] * len(self.heads), number)
            found = self.predict(self.features(example, plan.levels), plan)
            if not all(_close(a, b) for a, b in zip(expected, found, strict=True) if a is not None and b is not None):
                setattr(self, name, False)
                return

    def features(self, inputs: Tensor, levels: Sequence[int] | None = None) -> tuple[Tensor | None, ...]:
        """Feature maps, of the input's type also under autocast.

        Args:
            inputs: ``(B, 3, H, W)`` normalised.
            levels: Those in use, as of :class:`RoIPlan`; others may be None in the result.
        """
        inputs = inputs.to(memory_format=torch.channels_last)
        cast = torch.autocast(inputs.device.type, torch.bfloat16) if self.amp else nullcontext()
        with cast:
            if self.lazy and levels is not None:
                found = self._lazy_features(inputs, levels)
            else:
                found = self.model.extract_feat(inputs)
        # mmcv's RoI layers read the memory as if it were contiguous
        return tuple(x if x is None else x.to(inputs.dtype).contiguous() for x in found)

    def _lazy_features(self, inputs: Tensor, levels: Sequence[int]) -> list[Tensor | None]:
        neck = self.model.neck
        maps = self.model.backbone(inputs)
        found: list[Tensor | None] = [None] * len(neck.lateral_convs)
        above: Tensor | None = None
        for i in range(len(found) - 1, min(levels) - 1, -1):
            lateral = neck.lateral_convs[i](maps[i + neck.start_level])
            if above is not None:
                size = {} if 'scale_factor' in neck.upsample_cfg else dict(size=lateral.shape[2:])
                lateral = lateral + F.interpolate(above, **size, **neck.upsample_cfg)
            above = lateral
            if i in levels:
                found[i] = neck.fpn_convs[i](lateral)
        return found

    def plan(self, boxes: Sequence[Tensor], numbers: Tensor) -> RoIPlan:
        """Sort RoIs that will not move by level.

        Args:
            boxes: For each stage ``(R, 4)`` in pixels of the input.
            numbers: ``(R,)`` number of the input in the batch.
        """
        rois = [torch.cat([numbers[:, None].to(x), x], 1) for x in boxes]
        if not self.static:
            return RoIPlan(rois, None, [None] * len(rois), None)
        pieces: list[list[tuple[int, Tensor]]] = []
        back: list[Tensor | None] = []
        used = set()
        for stage, extractor in zip(rois, self.extractors, strict=True):
            if extractor.num_inputs == 1:
                pieces.append([(0, stage)])
                back.append(None)
                used.add(0)
                continue
            level = extractor.map_roi_levels(stage, extractor.num_inputs)
            order = level.argsort(stable=True)
            present = level.unique().tolist()
            pieces.append([(int(i), stage[level == i]) for i in present])
            back.append(order.argsort() if len(present) > 1 else None)
            used.update(int(i) for i in present)
        return RoIPlan(rois, pieces, back, tuple(sorted(used)))

    def scores(self, features: Sequence[Tensor | None], plan: RoIPlan) -> tuple[Tensor, Tensor | None]:
        """Raw class scores, of which a sure class's still have a gradient, and raw offsets.

        Of a cascade the scores are the mean of its stages', and the offsets the last stage's.

        Args:
            features: As of :meth:`features`.
            plan: As of :meth:`plan`.

        Returns:
            ``(R, C + 1)``, background last, and ``(R, C, 4)``, or ``(R, 1, 4)`` of a class-agnostic head, or None.
        """
        scores, deltas = [], None
        for stage in range(len(self.heads)):
            score, deltas = self._stage(features, plan, stage)
            scores.append(score)
        mean = scores[0] if len(scores) == 1 else torch.stack(scores).mean(0)
        return mean, None if deltas is None else deltas.reshape(len(deltas), -1, 4)

    def predict(self, features: Sequence[Tensor | None], plan: RoIPlan) -> tuple[Tensor, Tensor | None]:
        """As :meth:`scores`, with class probabilities in the place of the scores."""
        scores, deltas = self.scores(features, plan)
        return self._probability(scores, self.heads[-1]), deltas

    def _stage(self, features: Sequence[Tensor | None], plan: RoIPlan, stage: int) -> tuple[Tensor, Tensor | None]:
        roi_head = self.model.roi_head
        if plan.pieces is None:
            found = roi_head._bbox_forward(*([stage] if self.cascade else []), features, plan.rois[stage])
            return found['cls_score'], found['bbox_pred']
        layers = self.extractors[stage].roi_layers
        crops = [layers[level](features[level], rois) for level, rois in plan.pieces[stage]]
        rows = crops[0] if len(crops) == 1 else torch.cat(crops)
        if not self.cascade and roi_head.with_shared_head:
            rows = roi_head.shared_head(rows)
        score, deltas = self.heads[stage](rows)
        back = plan.back[stage]
        if back is None:
            return score, deltas
        return score[back], None if deltas is None else deltas[back]

    @staticmethod
    def _probability(scores: Tensor, head: Any) -> Tensor:
        # as BBoxHead has it at test time
        return head.loss_cls.get_activation(scores) if head.custom_cls_channels else scores.softmax(1)

    def stage_boxes(self, features: Sequence[Tensor | None], boxes: Tensor, shape: tuple[int, int]) -> list[Tensor]:
        """RoIs of each stage of one image: the given ones, and in a cascade those that each stage makes of them.

        Args:
            features: Of the one image, all levels.
            boxes: ``(R, 4)``.
            shape: Height and width of the image.
        """
        found = [boxes]
        number = boxes.new_zeros(len(boxes), dtype=torch.long)
        for stage, head in enumerate(self.heads[:-1]):
            plan = self.plan([found[-1]] * len(self.heads), number)
            score, deltas = self._stage(features, plan, stage)
            if head.custom_activation:
                score = head.loss_cls.get_activation(score)
            found.append(_tensor(head.regress_by_class(
                found[-1], score[:, :-1].argmax(1), deltas, dict(img_shape=shape))))
        return found

    def class_deltas(self, deltas: Tensor, labels: Tensor) -> Tensor:
        """``(R, 4)`` offsets of one class each; the only ones of a class-agnostic head."""
        if deltas.shape[1] == 1:
            return deltas[:, 0]
        return deltas[torch.arange(len(deltas), device=deltas.device), labels]

    def decode(self, rois: Tensor, deltas: Tensor) -> Tensor:
        """``(R, 4)`` boxes from the last stage's RoIs and raw offsets, not clipped."""
        return _tensor(self.heads[-1].bbox_coder.decode(rois, deltas, max_shape=None))


def _close(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    # relative to the largest value: folded batch norms round otherwise
    return bool((a - b).abs().max() <= 1e-3 * a.abs().max().clamp_min(1e-6)) if a.numel() else True


def _tensor(boxes: Any) -> Tensor:
    return boxes if isinstance(boxes, Tensor) else boxes.tensor
