"""Classifiers that give class maps."""

from wsss_mm.models.classifiers.cam_classifier import CAMClassifier

__all__ = ['CAMClassifier']
