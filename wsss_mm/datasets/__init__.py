"""Weak labels in: datasets, label readers, transforms, the built-in toy VOC."""

from wsss_mm.datasets import transforms
from wsss_mm.datasets.label_readers import read_id_list, read_image, read_label_map, read_voc_xml
from wsss_mm.datasets.patches import PatchDataset
from wsss_mm.datasets.voc import ToyVOCDataset, WeakSegDataset, WeakVOCDataset

__all__ = ['PatchDataset', 'ToyVOCDataset', 'WeakSegDataset', 'WeakVOCDataset', 'read_id_list', 'read_image',
           'read_label_map', 'read_voc_xml', 'transforms']
