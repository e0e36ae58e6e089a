"""Training signals beside the pooling head's own loss; see ``Objective`` for their interface."""

from wsss_mm.models.objectives.attention_mining import AttentionMining
from wsss_mm.models.objectives.attention_supervision import AttentionSupervision
from wsss_mm.models.objectives.base import Objective, extra_pass, pass_state
from wsss_mm.models.objectives.erasing_triplet import ErasingTriplet
from wsss_mm.models.objectives.out_of_distribution import OutOfDistribution
from wsss_mm.models.objectives.segmentation_branch import SegmentationBranch
from wsss_mm.models.objectives.visual_words import VisualWords

__all__ = ['AttentionMining', 'AttentionSupervision', 'ErasingTriplet', 'Objective', 'OutOfDistribution',
           'SegmentationBranch', 'VisualWords', 'extra_pass', 'pass_state']
