"""Pooling heads: from features to class scores, and to class maps."""

from wsss_mm.models.heads.bap_head import BAPHead
from wsss_mm.models.heads.base import BasePoolingHead
from wsss_mm.models.heads.gap_head import GAPHead

__all__ = ['BAPHead', 'BasePoolingHead', 'GAPHead']
