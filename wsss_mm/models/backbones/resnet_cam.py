"""ResNet in the form that class maps are taken from (IRN, and after it AdvCAM, RIB, W-OoD, VWE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmseg.models.backbones import ResNet

from wsss_mm.models.backbones.pretrained import CheckedPretrained
from wsss_mm.registry import MODELS


@MODELS.register_module()
class ResNetCAM(CheckedPretrained, ResNet):
    """mmseg's ResNet without dilation at output stride 16 (sides are halved four times, rounding up).

    Batch norms always use their running statistics; their weights and biases are trained like any other.

    ``init_cfg=dict(type='Pretrained', checkpoint=…)`` takes torchvision's weights (``fc.*`` is left aside; the scheme
    ``torchvision://`` needs torchvision), this module's own, and IRN's with ``prefix='resnet50.'``, one of the three
    names under which that file holds every tensor.

    Args:
        depth: 18, 34, 50, 101 or 152.
        frozen_stages: How far from the input nothing is trained: -1 nothing, 0 the stem alone (AdvCAM), 2 the first two
            stages too. The published code of IRN, RIB and VWE cuts the graph after stage 2, W-OoD keeps these stages
            from the optimizer; for training that is the same, and here the gradient of the image stays defined.
        out_indices: Stages whose maps are returned.
        init_cfg: Default: Kaiming.
        **options: mmseg's others. ``strides``, ``dilations`` and ``norm_eval`` have IRN's values unless given.
    """

    unused_parts = ('fc.',)

    def __init__(self, depth: int = 50, frozen_stages: int = 2, out_indices: Sequence[int] = (3,),
                 init_cfg: dict | list[dict] | None = None, **options: Any) -> None:
        options = dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 1), norm_eval=True) | options
        ResNet.__init__(self, depth=depth, frozen_stages=frozen_stages, out_indices=tuple(out_indices),
                        init_cfg=init_cfg, **options)
        if isinstance(self.init_cfg, dict):
            self.init_cfg = [self.init_cfg]

    def train(self, mode: bool = True) -> ResNetCAM:
        """As in mmseg, which returns nothing here."""
        super().train(mode)
        return self
