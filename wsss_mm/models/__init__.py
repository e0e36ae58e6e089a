"""Networks: backbones, classifiers with their necks, pooling heads and objectives, segmentors and their losses."""

from importlib.util import find_spec

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

__all__ = ['affinity', 'backbones', 'classifiers', 'data_preprocessor', 'decode_heads', 'heads', 'losses', 'necks',
           'objectives', 'segmentors']

if find_spec('mmdet'):
    from wsss_mm.models import detection  # noqa: F401
    __all__ += ['detection']
