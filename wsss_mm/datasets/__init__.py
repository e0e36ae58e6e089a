"""Weak labels in: datasets, label readers, transforms, samplers, the built-in toy VOC."""

from wsss_mm.datasets import transforms
from wsss_mm.datasets.coco import WeakCOCODataset
from wsss_mm.datasets.coco_boxes import CocoBoxDataset
from wsss_mm.datasets.label_readers import read_id_list, read_image, read_label_map, read_tags, read_voc_xml
from wsss_mm.datasets.ood import OoDImages, WithOoDImages
from wsss_mm.datasets.patches import PatchDataset
from wsss_mm.datasets.supervision import MixedSupervisionSampler, draw_supervision
from wsss_mm.datasets.voc import ToyVOCDataset, WeakSegDataset, WeakVOCDataset
from wsss_mm.requirements import has_mmdet

__all__ = ['CocoBoxDataset', 'MixedSupervisionSampler', 'OoDImages', 'PatchDataset', 'ToyVOCDataset', 'WeakCOCODataset',
           'WeakSegDataset', 'WeakVOCDataset', 'WithOoDImages', 'draw_supervision', 'read_id_list', 'read_image',
           'read_label_map', 'read_tags', 'read_voc_xml', 'transforms']

if has_mmdet():
    from wsss_mm.datasets.detection import InstanceLabelDataset, LoadInstanceLabels  # noqa: F401
    __all__ += ['InstanceLabelDataset', 'LoadInstanceLabels']
