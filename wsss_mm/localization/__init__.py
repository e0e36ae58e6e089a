"""From a trained network and an image to class maps."""

from wsss_mm.localization.adv_cam import AdvCAM
from wsss_mm.localization.background_maps import (
    background_attention,
    background_class_map,
    background_queries,
    best_class,
    box_class_maps,
    cosine_maps,
    crf_input,
    crf_labels,
    retrieval_maps,
    threshold_background,
)
from wsss_mm.localization.bilinear import UpsampledFeatures, interpolation_matrix
from wsss_mm.localization.boxes import box_masks, pixel_boxes, smallest_box
from wsss_mm.localization.cam import CAM
from wsss_mm.localization.grad_cam import GradCAM
from wsss_mm.localization.gradient_saliency import gradient_saliency, least_salient
from wsss_mm.localization.localizer import ImageLocalizer, Localizer, Views
from wsss_mm.localization.multi_scale import MultiScale, merge_maps
from wsss_mm.localization.rib import RIB
from wsss_mm.localization.stochastic_cam import StochasticCAM

__all__ = ['AdvCAM', 'CAM', 'GradCAM', 'ImageLocalizer', 'Localizer', 'MultiScale', 'RIB', 'StochasticCAM',
           'UpsampledFeatures', 'Views', 'background_attention', 'background_class_map', 'background_queries',
           'best_class', 'box_class_maps', 'box_masks', 'cosine_maps', 'crf_input', 'crf_labels',
           'gradient_saliency', 'interpolation_matrix', 'least_salient', 'merge_maps', 'pixel_boxes', 'retrieval_maps',
           'smallest_box', 'threshold_background']
