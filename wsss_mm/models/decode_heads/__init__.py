"""Decode heads for imperfect labels."""

from wsss_mm.models.decode_heads.aspp_branches import ASPPBranchHead
from wsss_mm.models.decode_heads.deeplab import DeepLabV2Head, LargeFOVHead
from wsss_mm.models.decode_heads.weak_decode_head import WeakDecodeHead, cosine_map, pixel_accuracy

__all__ = ['ASPPBranchHead', 'DeepLabV2Head', 'LargeFOVHead', 'WeakDecodeHead', 'cosine_map', 'pixel_accuracy']
