"""Transforms that carry boxes and all label maps; mmseg's ``RandomFlip`` and ``Resize`` serve for the rest."""

from wsss_mm.datasets.transforms.colour import ColorJitter
from wsss_mm.datasets.transforms.confident import LoadConfidentScores, PoolConfidentScores
from wsss_mm.datasets.transforms.formatting import PackWeakInputs
from wsss_mm.datasets.transforms.geometry import RandomCropWithBoxes, RandomLongSide, RandomScale
from wsss_mm.datasets.transforms.loading import LoadImage, LoadLabelMaps, LoadPrior, LoadWeakLabels
from wsss_mm.datasets.transforms.valid import MarkValid

__all__ = ['ColorJitter', 'LoadConfidentScores', 'LoadImage', 'LoadLabelMaps', 'LoadPrior', 'LoadWeakLabels',
           'MarkValid', 'PackWeakInputs', 'PoolConfidentScores', 'RandomCropWithBoxes', 'RandomLongSide', 'RandomScale']
