"""Class maps and an image in, better class maps out."""

from wsss_mm.refinement.batch_crf import BatchCRF
from wsss_mm.refinement.bilateral_filter import BilateralFilter
from wsss_mm.refinement.dense_crf import CRF_PRESETS, DenseCRF, PreparedCRF
from wsss_mm.refinement.hierarchy_proposals import HierarchyProposals
from wsss_mm.refinement.mask_builder import MaskBuilder
from wsss_mm.refinement.permutohedral import PermutohedralLattice
from wsss_mm.refinement.proposal_files import MaskProposals
from wsss_mm.refinement.proposal_rule import ProposalRefiner, refine_mask, refine_masks, refine_pairs
from wsss_mm.refinement.proposals import Proposals
from wsss_mm.refinement.random_walk import random_walk

__all__ = ['BatchCRF', 'BilateralFilter', 'CRF_PRESETS', 'DenseCRF', 'HierarchyProposals', 'MaskBuilder',
           'MaskProposals', 'PermutohedralLattice', 'PreparedCRF', 'ProposalRefiner', 'Proposals', 'random_walk',
           'refine_mask', 'refine_masks', 'refine_pairs']
