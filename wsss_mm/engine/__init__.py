"""Hooks and the stage chain."""

from wsss_mm.engine.hooks import PseudoLabelHook, StageHook

__all__ = ['PseudoLabelHook', 'StageHook']
