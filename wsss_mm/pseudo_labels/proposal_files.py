"""Mask proposals of a whole data set, once, for runs that use them."""

from __future__ import annotations

from torch import Tensor

from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.registry import TASK_UTILS
from wsss_mm.structures import ImageSample, LabelResult


@TASK_UTILS.register_module()
class ProposalFiles(LabelGenerator):
    """Writes ``proposals/<image id>.npz`` (:class:`~wsss_mm.refinement.Proposals`) and no labels.

    ``dict(type='wsss_mm.MaskProposals', folder='<out_dir>/proposals')`` reads them.

    Args:
        proposals: Config of what makes them, by default :class:`~wsss_mm.refinement.HierarchyProposals`; with
            :class:`~wsss_mm.refinement.MaskProposals`, files of another format become these.
    """

    needs_model = False

    def __init__(self, proposals: dict | None = None) -> None:
        self.proposals = TASK_UTILS.build(proposals or dict(type='wsss_mm.HierarchyProposals'))

    def fingerprint(self) -> dict[str, str]:
        """What the proposals are made of beside the image."""
        return self.proposals.fingerprint()

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The file of one image."""
        found = self.proposals(sample.image_id, sample.image)
        return LabelResult({}, files={f'proposals/{sample.image_id}.npz': found.to_bytes()})
