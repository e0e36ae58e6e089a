"""What travels between the stations."""

from wsss_mm.structures.class_maps import ClassMaps
from wsss_mm.structures.image_sample import ImageSample, LabelResult
from wsss_mm.structures.objects import ObjectMaps, ObjectMasks

__all__ = ['ClassMaps', 'ImageSample', 'LabelResult', 'ObjectMaps', 'ObjectMasks']
