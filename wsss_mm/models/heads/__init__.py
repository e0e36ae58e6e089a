"""Pooling heads: from features to class scores, and to class maps."""

from wsss_mm.models.heads.bap_head import BAPHead
from wsss_mm.models.heads.base import BasePoolingHead, present_pairs, stack_tags
from wsss_mm.models.heads.gap_head import GAPHead
from wsss_mm.models.heads.gmp_head import GMPHead
from wsss_mm.models.heads.gpp_head import GPPHead
from wsss_mm.models.heads.hspp_head import HSPPHead
from wsss_mm.models.heads.mixed_head import MixedHead
from wsss_mm.models.heads.stochastic_head import StochasticHead

__all__ = ['BAPHead', 'BasePoolingHead', 'GAPHead', 'GMPHead', 'GPPHead', 'HSPPHead', 'MixedHead', 'StochasticHead',
           'present_pairs', 'stack_tags']
