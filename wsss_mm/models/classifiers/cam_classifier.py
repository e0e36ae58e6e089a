"""A classifier whose classification layer also gives class maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.registry import MODELS


@MODELS.register_module()
class CAMClassifier(BaseModel):
    """Backbone, neck (optional), pooling head, and any number of further objectives.

    An objective is a module with ``loss(classifier, inputs, feats, data_samples) -> dict[str, Tensor]``: it sees this
    classifier (so it may run it again, on masked or augmented images), the batch ``(N, 3, H, W)``, the features
    already computed and the samples; values under keys containing ``loss`` are added up, others are logged.

    Args:
        backbone: Any of mmseg's, or ours: returns a tuple of maps.
        head: A :class:`~wsss_mm.models.heads.BasePoolingHead`.
        neck: Between the two.
        objectives: Further training signals, each built by the registry.
        test_cfg: ``dict(class_maps=True)``: :meth:`predict` gives class maps too.
        data_preprocessor: As in mmseg.
        init_cfg: As in mmengine.

    Raises:
        ConfigError: another key in ``test_cfg``.
    """

    def __init__(self, backbone: dict, head: dict, neck: dict | None = None, objectives: Sequence[dict] = (),
                 test_cfg: dict | None = None, data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.test_cfg = dict(test_cfg or {})
        if strange := sorted(self.test_cfg.keys() - {'class_maps'}):
            raise ConfigError(f'test_cfg has the unknown keys {strange}', expected='class_maps=True, or nothing')
        self.backbone = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.head = MODELS.build(head)
        self.objectives = nn.ModuleList([MODELS.build(objective) for objective in objectives])

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """``(N, 3, H, W)`` -> the maps of the backbone, or of the neck."""
        feats = self.backbone(inputs)
        if isinstance(feats, Tensor):  # some backbones of mmseg do this where there is one map
            feats = (feats,)
        return feats if self.neck is None else self.neck(feats)

    def class_maps(self, inputs: Tensor) -> Tensor:
        """``(N, 3, H, W)`` -> logits ``(N, C, h, w)`` at the backbone's stride, background not among them."""
        return self.head.class_maps(self.extract_feat(inputs))

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> Any:
        """mmengine's three modes.

        Args:
            inputs: ``(N, 3, H, W)``, normalised.
            data_samples: One ``SegDataSample`` per image.
            mode: ``'loss'`` -> dict of tensors; ``'predict'`` -> the samples, see :meth:`predict`; ``'tensor'`` ->
                image logits ``(N, C)``.

        Raises:
            ConfigError: another mode, no samples to learn from, or two parts that give a loss of the same name.
        """
        if mode == 'tensor':
            return self.head(self.extract_feat(inputs))
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'loss' and data_samples is not None:
            return self.loss(inputs, data_samples)
        raise ConfigError(f'mode={mode!r}, data_samples={type(data_samples).__name__}',
                          expected="'loss' with samples, 'predict' or 'tensor'")

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        """The samples with ``pred_label`` ``(C,)``, and ``class_maps`` where ``test_cfg`` asks for them.

        ``class_maps`` is a ``PixelData`` ``(C, H, W)`` at the image's original size: logits enlarged bilinearly, ReLU,
        each class divided by its maximum + 1e-5. Where a sample has ``gt_label``, classes that are not in it are 0.
        One scale, no flip: a quick look during training; label generators do more.

        Args:
            inputs: ``(N, 3, H', W')``, normalised.
            data_samples: One per image, or None.
        """
        feats = self.extract_feat(inputs)
        samples = self.head.predict(feats, data_samples)
        if self.test_cfg.get('class_maps'):
            for sample, logits in zip(samples, self.head.class_maps(feats), strict=True):
                sample.set_data(dict(class_maps=PixelData(data=_original_size(logits, sample, inputs.shape[-2:]))))
        return samples

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """The head's losses and those of all objectives."""
        feats = self.extract_feat(inputs)
        losses = dict(self.head.loss(feats, data_samples))
        for objective in self.objectives:
            more = objective.loss(self, inputs, feats, data_samples)  # type: ignore[operator]
            if twice := sorted(losses.keys() & more.keys()):
                raise ConfigError(f'{type(objective).__name__} gives {twice}, which another part gave already',
                                  expected='one part per name', fix='rename its keys')
            losses.update(more)
        return losses


def _original_size(logits: Tensor, sample: Any, padded: Sequence[int]) -> Tensor:
    """``(C, h, w)`` of a padded image -> normalised class maps ``(C, H, W)``; only classes of the tags are enlarged."""
    tags = sample.gt_label > 0 if 'gt_label' in sample else torch.ones(len(logits), dtype=torch.bool)
    present = tags.nonzero()[:, 0].to(logits.device)
    size = tuple(sample.metainfo.get('ori_shape', padded))[:2]
    padding = sample.metainfo.get('img_padding_size') or sample.metainfo.get('padding_size') or (0, 0, 0, 0)
    maps = logits[present][:, None]   # classes as the batch, which may be empty
    if any(padding):
        left, right, top, bottom = padding
        maps = F.interpolate(maps, tuple(padded), mode='bilinear', align_corners=False)
        maps = maps[..., top:padded[0] - bottom, left:padded[1] - right]
    maps = F.interpolate(maps, size, mode='bilinear', align_corners=False)[:, 0].relu()
    result = logits.new_zeros(len(logits), *size)
    result[present] = maps / (maps.amax((1, 2), keepdim=True) + 1e-5)
    return result
