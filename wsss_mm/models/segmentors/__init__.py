"""Segmentors."""

from wsss_mm.models.segmentors.multi_scale_segmentor import MultiScaleSegmentor

__all__ = ['MultiScaleSegmentor']
