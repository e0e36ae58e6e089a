"""Networks: backbones, classifiers with their pooling heads and objectives, segmentors and their losses."""

from wsss_mm.models import (backbones, classifiers, decode_heads, heads, losses, objectives, segmentors)  # noqa: F401
from wsss_mm.models import data_preprocessor  # noqa: F401
