"""ResNet that also gives the map of its stem."""

from __future__ import annotations

from torch import Tensor

from wsss_mm.models.backbones.resnet_cam import ResNetCAM
from wsss_mm.registry import MODELS


@MODELS.register_module()
class ResNetWithStem(ResNetCAM):
    """:class:`ResNetCAM` whose first map is the stem's, after the max pooling (64 channels, stride 4), as IRN needs it.

    The maps of ``out_indices`` follow.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """``(N, 3, H, W)`` -> the stem's map and the chosen stages'."""
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        outputs = [x]
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
