"""Networks: backbones, classifiers with their pooling heads and objectives, segmentors and their losses."""

from wsss_mm.models import (
    backbones,
    classifiers,
    data_preprocessor,
    decode_heads,
    heads,
    losses,
    objectives,
    segmentors,
)

__all__ = ['backbones', 'classifiers', 'data_preprocessor', 'decode_heads', 'heads', 'losses', 'objectives',
           'segmentors']
