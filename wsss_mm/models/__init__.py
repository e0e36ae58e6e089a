"""Networks: backbones, classifiers with their pooling heads and objectives, segmentors and their losses."""

from wsss_mm.models import (  # noqa: F401
    backbones,
    classifiers,
    data_preprocessor,
    decode_heads,
    heads,
    losses,
    objectives,
    segmentors,
)
