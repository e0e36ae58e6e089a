"""Scores of label maps and class maps against ground truth."""

from wsss_mm.evaluation.class_sets import ClassSet, resolve_classes
from wsss_mm.evaluation.confusion import ConfusionMatrix
from wsss_mm.evaluation.files import read_boxes, read_ids, read_scored_map
from wsss_mm.evaluation.folder import Scores, evaluate_folder
from wsss_mm.evaluation.ranking import MapAUC, auc, evaluate_maps

__all__ = ['ClassSet', 'ConfusionMatrix', 'MapAUC', 'Scores', 'auc', 'evaluate_folder', 'evaluate_maps',
           'read_boxes', 'read_ids', 'read_scored_map', 'resolve_classes']
