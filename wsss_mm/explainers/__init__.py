"""Explainers: which pixels a two-stage detector needs for each of its boxes."""

from wsss_mm.explainers.bbam import BBAMExplainer
from wsss_mm.explainers.explainer import ObjectExplainer, explained_input, object_maps

__all__ = ['BBAMExplainer', 'ObjectExplainer', 'explained_input', 'object_maps']
