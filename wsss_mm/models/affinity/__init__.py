"""Networks that learn which neighbouring pixels belong together."""

from wsss_mm.models.affinity.base import BaseAffinityModel
from wsss_mm.models.affinity.pairs import neighbour_offsets

__all__ = ['BaseAffinityModel', 'neighbour_offsets']
