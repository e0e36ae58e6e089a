"""Class maps and an image in, better class maps out."""

from wsss_mm.refinement.dense_crf import CRF_PRESETS, DenseCRF, PreparedCRF
from wsss_mm.refinement.permutohedral import PermutohedralLattice

__all__ = ['CRF_PRESETS', 'DenseCRF', 'PermutohedralLattice', 'PreparedCRF']
