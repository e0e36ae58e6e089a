"""Batching of samples with several label maps."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor

from wsss_mm.registry import MODELS

# stack_batch pads these itself.
_PADDED_BY_MMSEG = ('gt_sem_seg', 'gt_edge_map', 'gt_depth_map')


def gives_rgb(preprocessor: Any) -> bool:
    """Whether a data preprocessor of MMSegmentation, of either lineage, turns mmcv's BGR into RGB."""
    return getattr(preprocessor, 'channel_conversion', getattr(preprocessor, '_channel_conversion', False))


@MODELS.register_module()
class WeakSegDataPreProcessor(SegDataPreProcessor):
    """mmseg's preprocessor, which also pads the further label maps to the batch's size.

    mmseg pads right and bottom, so boxes stay where they are.

    Args:
        size, size_divisor: As in mmseg; with neither, a batch is padded to its largest image.
        kwargs: As of mmseg's ``SegDataPreProcessor``.
    """

    def __init__(self, size: tuple[int, int] | None = None, size_divisor: int | None = None, **kwargs: Any) -> None:
        if size is None and size_divisor is None:
            size_divisor = 1
        super().__init__(size=size, size_divisor=size_divisor, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise and pad.

        Args:
            data: ``inputs`` (list of (3, H, W)) and ``data_samples``.
            training: Pad the labels too, with ``seg_pad_val``.

        Returns:
            ``inputs`` (N, 3, H, W) and ``data_samples``.
        """
        data = super().forward(data, training)
        for sample in data['data_samples'] if training else ():
            for key, value in sample.items():
                if isinstance(value, PixelData) and key.startswith('gt_') and key not in _PADDED_BY_MMSEG:
                    padded = F.pad(value.data, sample.padding_size, value=self.seg_pad_val)
                    sample.set_data({key: PixelData(data=padded)})
            # mmseg takes it from gt_sem_seg and leaves None where there is none.
            sample.set_metainfo(dict(pad_shape=tuple(data['inputs'].shape[-2:])))
        return data
