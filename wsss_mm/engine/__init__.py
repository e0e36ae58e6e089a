"""Hooks and the stage chain."""

from wsss_mm.engine.estimate import ImagesUntilDeadline, SampleClockHook
from wsss_mm.engine.hooks import PseudoLabelHook, StageHook
from wsss_mm.engine.irn_hook import DisplacementMeanHook
from wsss_mm.engine.ood_hook import OoDCentresHook

__all__ = ['DisplacementMeanHook', 'ImagesUntilDeadline', 'OoDCentresHook', 'PseudoLabelHook', 'SampleClockHook',
           'StageHook']
