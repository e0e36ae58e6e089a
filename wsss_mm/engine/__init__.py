"""Hooks and the stage chain."""

from wsss_mm.engine.hooks import PseudoLabelHook, StageHook
from wsss_mm.engine.irn_hook import DisplacementMeanHook
from wsss_mm.engine.ood_hook import OoDCentresHook

__all__ = ['DisplacementMeanHook', 'OoDCentresHook', 'PseudoLabelHook', 'StageHook']
