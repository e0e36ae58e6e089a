"""Bounding-box attribution maps: the smallest mask of an image under which a detector predicts a box as before."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.explainers.adapter import DetectorAdapter, check_detector
from wsss_mm.explainers.bbam_masks import BBAMSettings, optimise_masks
from wsss_mm.explainers.explainer import explained_input
from wsss_mm.explainers.proposal_explainer import ObjectRecords, ProposalExplainer, check_labels
from wsss_mm.registry import TASK_UTILS

_PRESETS: dict[str, dict[str, Any]] = dict(
    official={},
    # ‖Δt‖_1 + |Δp|: the box weight is that of a mean over four coordinates
    paper=dict(box_weight=4., cls_weight=1., tv=0., iou_ladder=(.8,), max_positives=None, ceil_grid=True,
               predicted_area=True))


@TASK_UTILS.register_module()
class BBAMExplainer(ProposalExplainer):
    """BBAM (Lee, Yi, Shin, Yoon: CVPR 2021) of given boxes, or of a detector's own.

    Around a box ``n_jitter`` proposals are drawn. Those whose predicted class is the box's and whose predicted box
    overlaps it enough are kept. One mask per object is then optimised so that all of them are predicted as before while
    the masked-out part of the image has the mean colour (Eqs. 5.1–5.3). The masks of many objects are optimised in one
    batch, each as if it were alone.

    The dissertation and the published code differ; each difference is an argument, and ``preset`` sets them all.

    Args:
        preset: ``'official'``, the published code, or ``'paper'``: loss ``‖Δt‖_1 + |Δp|`` without total variation, all
            proposals with an IoU above .8, a grid rounded up, a stride by the predicted boxes' mean area. Arguments
            that are given override it.
        scale: Longest and shortest side of the input, as of ``Resize(scale=…, keep_ratio=True)`` in the detector's test
            pipeline; None: the image's own size.
        n_jitter: Proposals drawn per box.
        jitter: By how much of its side each coordinate moves at most.
        iou_ladder: Thresholds of IoU, tried in turn until more than ``max_positives`` proposals pass; the last is taken
            with what passes.
        max_positives: Proposals kept, the first drawn; None: all that pass.
        stride: s_0 and s_1 of the stride s_0 + s_1 sqrt(a) in pixels of the input, or one fixed number.
        predicted_area: a is the mean area of the predicted boxes, not the given box's.
        ceil_grid: The grid's sides are rounded up.
        sparsity: λ, on the sum of a mask's cells.
        tv, tv_beta: Weight and power of the total variation, in the code only.
        box_weight: Of the mean over the four offsets.
        cls_weight: Of the class probability.
        heads: Which heads' predictions are kept: ``'both'``, ``'box'`` or ``'cls'``.
        lr: Of Adam.
        iterations: Steps per object.
        seed: With the image's and the annotation's id it seeds an object's proposals.
        max_batch: Objects in one forward pass; the memory's bound.
        lower_ladder: Where no proposal passes, .7, .6 and .5 are tried.
        crop: Approximate. Masked images are cropped to the boxes and this margin in pixels of the input, at least a
            quarter of the box; None: they are whole.
        early_stop: Approximate. An object is left once its mask's running mean stands still.
        amp: Approximate. Backbone and neck in bfloat16.

    Raises:
        ConfigError: an unknown preset or head.
    """

    def __init__(self, preset: str = 'official', *, scale: tuple[int, int] | None = (1333, 800), seed: int = 0,
                 max_batch: int = 8, crop: int | None = None, **settings: Any) -> None:
        names = [f.name for f in dataclasses.fields(BBAMSettings)]
        if preset not in _PRESETS:
            raise ConfigError(f'preset={preset!r} of BBAMExplainer', expected=' or '.join(map(repr, _PRESETS)))
        if unknown := sorted(set(settings) - set(names)):
            raise ConfigError(f'BBAMExplainer has no {unknown[0]!r}', expected=', '.join(names))
        super().__init__(BBAMSettings(**(_PRESETS[preset] | settings)), scale, seed, max_batch, crop)
        if self.settings.heads not in ('both', 'box', 'cls'):
            raise ConfigError(f'heads={self.settings.heads!r} of BBAMExplainer', expected="'both', 'box' or 'cls'")
        self._kept: tuple[weakref.ref, list, DetectorAdapter] | None = None

    @torch.enable_grad()
    def explain_records(self, model: Any, records: Sequence[ObjectRecords]) -> None:
        """The masks of all objects, in batches; see :meth:`ProposalExplainer.explain_records`."""
        check_detector(model)
        adapter, jobs = None, []
        for record in records:
            inputs, factors = explained_input(model, record.image, self.scale)
            if adapter is None:
                adapter = self._adapted(model, inputs)
                check_labels(model, adapter.num_classes, [r.labels for r in records])
            jobs += self.jobs(adapter, inputs, factors, record)
        if adapter is None:
            return
        optimise_masks(adapter, jobs, self.settings, self.max_batch)
        if self.settings.amp and (failed := [j for j in jobs if j.diverged]):
            # bfloat16 may be at fault: once more in full precision, from the proposals on
            adapter.amp = False
            again = []
            for record in records:
                inputs, factors = explained_input(model, record.image, self.scale)
                keep = {j.index for j in failed if j.record is record}
                again += self.jobs(adapter, inputs, factors, record, keep) if keep else []
            optimise_masks(adapter, again, self.settings, self.max_batch)
            jobs = [j for j in jobs if not j.diverged] + again
        for job in jobs:
            job.record.finish(job)

    def _adapted(self, model: Any, inputs: Tensor) -> DetectorAdapter:
        """The model's frozen copy, kept for the next call as long as the model is the same."""
        tensors = [*model.parameters(), *model.buffers()]
        state = [(x._version, x.data_ptr()) for x in tensors]
        if self._kept is None or self._kept[0]() is not model or self._kept[1] != state:
            self._kept = weakref.ref(model), state, DetectorAdapter(model, inputs)
        adapter = self._kept[2]
        adapter.amp = self.settings.amp
        return adapter

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), '_kept': None}   # processes that label get no copy of the detector
