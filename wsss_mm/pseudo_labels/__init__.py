"""The labelling run: generators, writer, manifest, resume."""

from wsss_mm.pseudo_labels.bana import BANALabels
from wsss_mm.pseudo_labels.baselines import BoxFillLabels, GrabCutLabels
from wsss_mm.pseudo_labels.class_map_labels import ClassMapLabels
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.pseudo_labels.imported_map_labels import ImportedMaps
from wsss_mm.pseudo_labels.instance_baselines import (
    BestProposalInstances,
    BoxCRFInstances,
    BoxInstances,
    GrabCutInstances,
)
from wsss_mm.pseudo_labels.instance_labels import InstanceLabels, semantic_labels
from wsss_mm.pseudo_labels.instances import IRNInstances
from wsss_mm.pseudo_labels.irn_confident import IRNConfidentLabels
from wsss_mm.pseudo_labels.irn_labels import IRNLabels
from wsss_mm.pseudo_labels.label_pair_instances import LabelPairInstances
from wsss_mm.pseudo_labels.mixed_labels import MixedLabels
from wsss_mm.pseudo_labels.object_map_labels import ObjectMapLabels
from wsss_mm.pseudo_labels.object_maps import ExplainBoxes, SavedObjectMaps
from wsss_mm.pseudo_labels.proposal_files import ProposalFiles
from wsss_mm.pseudo_labels.psa_confident import PSAConfidentAreas
from wsss_mm.pseudo_labels.psa_labels import PSALabels
from wsss_mm.pseudo_labels.saved_map_labels import SavedMapLabels
from wsss_mm.pseudo_labels.seed_cues import SeedCues
from wsss_mm.pseudo_labels.segmentor import SegmentorLabels

__all__ = ['BANALabels', 'BestProposalInstances', 'BoxCRFInstances', 'BoxFillLabels', 'BoxInstances', 'ClassMapLabels',
           'ExplainBoxes', 'GrabCutInstances', 'GrabCutLabels', 'IRNConfidentLabels', 'IRNInstances', 'IRNLabels',
           'ImportedMaps', 'InstanceLabels', 'LabelGenerator', 'LabelPairInstances', 'MixedLabels',
           'ObjectMapLabels', 'PSAConfidentAreas', 'PSALabels', 'ProposalFiles', 'SavedMapLabels', 'SavedObjectMaps',
           'SeedCues', 'SegmentorLabels', 'semantic_labels']
