"""Explainers: which pixels a two-stage detector needs for each of its boxes."""

from wsss_mm.explainers.bbam import BBAMExplainer
from wsss_mm.explainers.explainer import ObjectExplainer, explained_input, object_maps
from wsss_mm.explainers.roi_gradients import RoIGradCAM, RoISimpleGrad

__all__ = ['BBAMExplainer', 'ObjectExplainer', 'RoIGradCAM', 'RoISimpleGrad', 'explained_input', 'object_maps']
