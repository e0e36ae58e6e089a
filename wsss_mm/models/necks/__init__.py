"""Between backbone and head. Each takes a tuple of maps and returns one, as mmseg's own do."""

from wsss_mm.models.necks.embedding import EmbeddingNeck

__all__ = ['EmbeddingNeck']
