"""Weakly-supervised segmentation for MMSegmentation and MMDetection.

Importing the package is light: torch, mmseg and mmdet are imported by the parts that need them.
"""

from wsss_mm.version import __version__

__all__ = ['__version__']
