"""Networks: backbones, classifiers with their necks, pooling heads and objectives, segmentors and their losses."""

from wsss_mm.models import (
    affinity,
    backbones,
    classifiers,
    data_preprocessor,
    decode_heads,
    heads,
    losses,
    necks,
    objectives,
    segmentors,
)
from wsss_mm.requirements import has_mmdet

__all__ = ['affinity', 'backbones', 'classifiers', 'data_preprocessor', 'decode_heads', 'heads', 'losses', 'necks',
           'objectives', 'segmentors']

if has_mmdet():
    from wsss_mm.models import detection  # noqa: F401
    __all__ += ['detection']
