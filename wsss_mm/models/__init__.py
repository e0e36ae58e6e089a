"""Networks: backbones, classifiers with their necks, pooling heads and objectives, segmentors and their losses."""

from wsss_mm.models import (
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

__all__ = ['backbones', 'classifiers', 'data_preprocessor', 'decode_heads', 'heads', 'losses', 'necks',
           'objectives', 'segmentors']
