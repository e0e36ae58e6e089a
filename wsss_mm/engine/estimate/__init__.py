"""A dry run of a chain: how long each stage will take on this machine, and how much disk it needs."""

from wsss_mm.engine.estimate.parts import ImagesUntilDeadline, SampleClockHook

__all__ = ['ImagesUntilDeadline', 'SampleClockHook']
