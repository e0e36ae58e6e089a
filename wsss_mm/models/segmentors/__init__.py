"""Segmentors."""

from wsss_mm.models.segmentors.multi_scale_segmentor import MultiScaleSegmentor
from wsss_mm.models.segmentors.seeded_segmentor import SeededSegmentor

__all__ = ['MultiScaleSegmentor', 'SeededSegmentor']
