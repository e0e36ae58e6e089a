"""Scores of label maps, class maps, instances and image tags against ground truth."""

from wsss_mm.evaluation.alpha_sweep import AlphaSweep, sweep_alphas, sweep_image
from wsss_mm.evaluation.class_map_metric import ClassMapMetric
from wsss_mm.evaluation.class_sets import ClassSet, resolve_classes
from wsss_mm.evaluation.confusion import ConfusionMatrix
from wsss_mm.evaluation.context import context_share, evaluate_context
from wsss_mm.evaluation.files import read_boxes, read_ids, read_scored_map
from wsss_mm.evaluation.folder import Scores, evaluate_folder
from wsss_mm.evaluation.instance_ap import InstanceAP, instance_ap
from wsss_mm.evaluation.instance_metric import InstanceMetric
from wsss_mm.evaluation.instances import MaskScores, mask_ious
from wsss_mm.evaluation.object_map_scores import ObjectMapScores, score_object_maps
from wsss_mm.evaluation.ranking import MapAUC, auc, evaluate_maps
from wsss_mm.evaluation.tag_metric import TagMetric, average_precision
from wsss_mm.evaluation.threshold_curve import ThresholdCurve, evaluate_class_maps

__all__ = ['AlphaSweep', 'ClassMapMetric', 'ClassSet', 'ConfusionMatrix', 'InstanceAP', 'InstanceMetric', 'MapAUC',
           'MaskScores', 'ObjectMapScores', 'Scores', 'TagMetric', 'ThresholdCurve', 'auc', 'average_precision',
           'context_share', 'evaluate_class_maps', 'evaluate_context', 'evaluate_folder', 'evaluate_maps',
           'instance_ap', 'mask_ious', 'read_boxes', 'read_ids', 'read_scored_map', 'resolve_classes',
           'score_object_maps', 'sweep_alphas', 'sweep_image']
