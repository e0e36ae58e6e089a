"""Networks that learn which neighbouring pixels belong together."""

from wsss_mm.models.affinity.base import BaseAffinityModel
from wsss_mm.models.affinity.irn import IRNet
from wsss_mm.models.affinity.pairs import neighbour_offsets
from wsss_mm.models.affinity.paths import path_affinities, path_offsets
from wsss_mm.models.affinity.psa import AffinityNet

__all__ = ['AffinityNet', 'BaseAffinityModel', 'IRNet', 'neighbour_offsets', 'path_affinities', 'path_offsets']
