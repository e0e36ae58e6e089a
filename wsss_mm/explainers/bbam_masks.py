"""Masks of many objects optimised in one batch, each as if it were alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wsss_mm.explainers.adapter import DetectorAdapter
from wsss_mm.explainers.bbam_loss import adam_step, prediction_change, total_variation

# Of the early stop: steps before the first, steps between looks, memory of the running mean, and what stands still.
_FIRST_LOOK, _LOOK_EVERY, _MEMORY, _STILL, _STILL_LOSS = 100, 10, .9, 2e-3, 1e-3


@dataclass(frozen=True)
class BBAMSettings:
    """Settings of :class:`~wsss_mm.explainers.BBAMExplainer`, which says what each is; defaults of the code."""

    n_jitter: int = 1000
    jitter: float = .3
    iou_ladder: tuple[float, ...] = (.9, .85, .8)
    max_positives: int | None = 100
    lower_ladder: bool = False
    stride: tuple[float, float] | float = (16, 48)
    predicted_area: bool = False
    ceil_grid: bool = False
    sparsity: float = .007
    tv: float = 1e-4
    tv_beta: float = 3.
    box_weight: float = .5
    cls_weight: float = .5
    heads: str = 'both'
    lr: float = .02
    iterations: int = 300
    early_stop: bool = False
    amp: bool = False


@dataclass
class MaskJob:
    """One object's mask, and all that its optimisation needs.

    Attributes:
        record, index: Whose it is.
        image: ``(3, H, W)`` normalised, the input or a window of it.
        rows, columns: ``(H, h)`` and ``(W, w)`` of :func:`~wsss_mm.explainers.bbam_loss.upsampling_matrix`.
        mask: ``(h, w)`` float32.
        rois: For each stage ``(n, 4)`` in pixels of ``image``.
        label: Class index.
        probability, deltas: ``(n,)`` and ``(n, 4)`` on the whole image, raw; offsets None without a head for boxes.
    """

    record: Any
    index: int
    image: Tensor
    rows: Tensor
    columns: Tensor
    mask: Tensor
    rois: list[Tensor]
    label: int
    probability: Tensor
    deltas: Tensor | None
    first: Tensor | None = None
    second: Tensor | None = None
    mean: Tensor | None = None
    ever: Tensor | None = None
    history: list[tuple[Tensor, Tensor]] | None = None
    steps: int = 0
    loss_box: float = 0.
    loss_cls: float = 0.
    done: bool = False

    @property
    def diverged(self) -> bool:
        """The mask has values that are not finite."""
        return not bool(self.mask.isfinite().all())


def optimise_masks(adapter: DetectorAdapter, jobs: Sequence[MaskJob], settings: BBAMSettings, max_batch: int) -> None:
    """Find the masks of objects, in place.

    Objects whose images have one size share forward passes. One that is done leaves, and the next one takes its place.

    Args:
        adapter: The frozen detector.
        jobs: Objects of any images.
        settings: Of the explainer.
        max_batch: Objects in one forward pass.
    """
    groups = defaultdict(list)
    for job in jobs:
        groups[job.image.shape].append(job)
    for group in groups.values():
        # objects on the same levels together: a level that none is on is not computed
        waiting = sorted(group, key=lambda job: float((job.rois[0][:, 2:] - job.rois[0][:, :2]).prod(1).mean()))
        active: list[MaskJob] = []
        while waiting or active:
            free = max_batch - len(active)
            active, waiting = active + waiting[:free], waiting[free:]
            _Batch(adapter, active, settings).run()
            active = [job for job in active if not job.done]


class _Batch:
    """Objects that are optimised together until one of them may be done."""

    def __init__(self, adapter: DetectorAdapter, jobs: Sequence[MaskJob], settings: BBAMSettings) -> None:
        self.adapter, self.jobs, self.settings = adapter, jobs, settings
        device = jobs[0].image.device
        self.shapes = [job.mask.shape for job in jobs]
        height, width = (max(s[i] for s in self.shapes) for i in (0, 1))
        self.height, self.width = height, width
        self.images = torch.stack([job.image for job in jobs])
        self.rows = torch.stack([_pad(job.rows, self.images.shape[2], height) for job in jobs])
        self.columns = torch.stack([_pad(job.columns, self.images.shape[3], width) for job in jobs])
        self.sizes = torch.tensor([list(s) for s in self.shapes], device=device)
        self.masks, self.first, self.second = (
            torch.stack([_pad(getattr(job, name) if getattr(job, name) is not None else torch.zeros_like(job.mask),
                              height, width) for job in jobs]) for name in ('mask', 'first', 'second'))
        self.steps = torch.tensor([float(job.steps) for job in jobs], device=device)
        counts = torch.tensor([len(job.probability) for job in jobs], device=device)
        self.owner = torch.arange(len(jobs), device=device).repeat_interleave(counts)
        self.weight = (1 / counts.to(self.images))[self.owner]
        self.labels = torch.tensor([job.label for job in jobs], device=device)[self.owner]
        self.probability = torch.cat([job.probability for job in jobs])
        self.deltas = torch.cat([job.deltas for job in jobs]) if adapter.with_boxes else None  # type: ignore[misc]
        self.plan = adapter.plan([torch.cat(x) for x in zip(*(job.rois for job in jobs), strict=True)], self.owner)

    def run(self) -> None:
        """Steps until an object has all its iterations, or is to be looked at for an early stop."""
        left = min(self.settings.iterations - job.steps for job in self.jobs)
        if self.settings.early_stop:
            left = min(left, *(_LOOK_EVERY - job.steps % _LOOK_EVERY for job in self.jobs))
        change_box = change_cls = loss = torch.zeros(len(self.jobs), device=self.masks.device)
        for _ in range(left):
            loss, change_box, change_cls = self.step()
        self._release(left, loss, change_box, change_cls)

    def step(self) -> tuple[Tensor, Tensor, Tensor]:
        """One step; the loss and the two heads' changes before it, ``(B,)`` each."""
        masks = self.masks.requires_grad_()
        loss, change_box, change_cls = self.loss(masks)
        gradient, = torch.autograd.grad(loss.sum(), masks)
        self.masks = masks.detach()
        self.steps += 1
        adam_step(self.masks, gradient, self.first, self.second, self.steps, self.settings.lr)
        return loss.detach(), change_box.detach(), change_cls.detach()

    def loss(self, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objects' losses of Eqs. (5.1) and (5.3), and the two heads' changes.

        Args:
            masks: ``(B, h, w)``.
        """
        settings, adapter = self.settings, self.adapter
        enlarged = self.rows @ masks @ self.columns.transpose(1, 2)
        features = adapter.features(self.images * enlarged[:, None], self.plan.levels)
        probability, deltas = adapter.predict(features, self.plan)
        if deltas is not None:
            scale = adapter.delta_scale
            change_box, change_cls = prediction_change(
                probability.gather(1, self.labels[:, None])[:, 0], adapter.class_deltas(deltas, self.labels) * scale,
                self.probability, self.deltas * scale, self.owner, self.weight, len(masks))   # type: ignore[operator]
        else:
            change_box, change_cls = prediction_change(
                probability.gather(1, self.labels[:, None])[:, 0], None, self.probability, None, self.owner,
                self.weight, len(masks))
        loss = settings.sparsity * masks.abs().sum((1, 2))
        if settings.heads != 'cls':
            loss = loss + settings.box_weight * change_box
        if settings.heads != 'box':
            loss = loss + settings.cls_weight * change_cls
        if settings.tv:
            loss = loss + settings.tv * total_variation(masks, self.sizes[:, 0], self.sizes[:, 1], settings.tv_beta)
        return loss, change_box, change_cls

    def _release(self, taken: int, loss: Tensor, change_box: Tensor, change_cls: Tensor) -> None:
        for i, (job, (height, width)) in enumerate(zip(self.jobs, self.shapes, strict=True)):
            job.mask, job.first, job.second = (x[i, :height, :width].clone()
                                               for x in (self.masks, self.first, self.second))
            job.steps += taken
            job.done = job.steps >= self.settings.iterations
            if self.settings.early_stop and not job.done:
                job.done = _stands_still(job, loss[i])
            if job.done:
                job.loss_box, job.loss_cls = float(change_box[i]), float(change_cls[i])


def _stands_still(job: MaskJob, loss: Tensor) -> bool:
    """Adam's masks never settle: their running mean does, and with it the loss's."""
    if job.history is None:
        job.mean, job.ever, job.history = job.mask, job.mask > 0, []
    assert job.mean is not None and job.ever is not None
    job.mean = _MEMORY * job.mean + (1 - _MEMORY) * job.mask
    job.ever = job.ever | (job.mask > 0)
    mean_loss = loss if not job.history else _MEMORY * job.history[-1][1] + (1 - _MEMORY) * loss
    job.history = [*job.history[-2:], (job.mean, mean_loss)]
    if job.steps < _FIRST_LOOK or len(job.history) < 3:
        return False
    before, loss_before = job.history[0]
    moved = ((job.mean - before).abs() * job.ever).sum() / job.ever.sum().clamp_min(1)
    return bool((moved < _STILL) & ((mean_loss - loss_before).abs() < _STILL_LOSS * loss_before.abs()))


def _pad(matrix: Tensor, height: int, width: int) -> Tensor:
    padded = matrix.new_zeros(height, width)
    padded[:matrix.shape[0], :matrix.shape[1]] = matrix
    return padded
