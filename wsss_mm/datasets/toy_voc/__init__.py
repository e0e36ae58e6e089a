"""Toy VOC: small drawn scenes with exact masks, for the demo, the tests and the quality benchmark.

Drawn here, the same on every machine; nothing is downloaded.
"""

from .patches import PATCH_NAMES, draw_patches, patches
from .profiles import CLASSES, PROFILES, SPLITS, ToyProfile
from .scenes import ToyObject, ToyScene, content, scene
from .writer import draw_toy_voc, is_complete, voc_palette

TOY_CLASSES = ('background', *CLASSES)
TOY_PALETTE = voc_palette()[:len(TOY_CLASSES)].tolist()

__all__ = ['PATCH_NAMES', 'PROFILES', 'SPLITS', 'TOY_CLASSES', 'TOY_PALETTE', 'ToyObject', 'ToyProfile', 'ToyScene',
           'content', 'draw_patches', 'draw_toy_voc', 'is_complete', 'patches', 'scene']
