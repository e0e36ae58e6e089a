"""Attribution by gradients of a detector's predictions: Grad-CAM and SimpleGrad of the proposals that BBAM explains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wsss_mm.errors import ConfigError
from wsss_mm.explainers.adapter import DetectorAdapter, check_detector
from wsss_mm.explainers.bbam_masks import BBAMSettings, MaskJob
from wsss_mm.explainers.bbam_proposals import object_seed
from wsss_mm.explainers.explainer import explained_input
from wsss_mm.explainers.proposal_explainer import ObjectRecords, ProposalExplainer, check_labels
from wsss_mm.registry import TASK_UTILS

# Of BBAM's arguments those that say which proposals are explained, and on which grid.
_SHARED = ('n_jitter', 'jitter', 'iou_ladder', 'max_positives', 'lower_ladder', 'stride', 'predicted_area', 'ceil_grid')


class _RoIGradients(ProposalExplainer):
    """Gradients of the mean prediction of an object's positive proposals, which are drawn as BBAM draws them.

    A score of one object is that of its own proposals alone, so the gradients of all objects of an image with respect
    to its feature maps come from one backward pass through the heads: each object has its own copy of the maps. A
    pass per object would go through the heads as often as there are objects.

    Args:
        scale: As of :class:`~wsss_mm.explainers.BBAMExplainer`.
        seed: Of the proposals.
        max_batch: Objects whose copies of the feature maps are in memory together.
        **shared: BBAM's arguments for proposals and grid: ``n_jitter``, ``jitter``, ``iou_ladder``, ``max_positives``,
            ``lower_ladder``, ``stride``, ``predicted_area``, ``ceil_grid``.

    Raises:
        ConfigError: another argument.
    """

    def __init__(self, *, scale: tuple[int, int] | None = (1333, 800), seed: int = 0, max_batch: int = 8,
                 **shared: Any) -> None:
        if unknown := sorted(set(shared) - set(_SHARED)):
            raise ConfigError(f'{type(self).__name__} has no {unknown[0]!r}', expected=', '.join(_SHARED))
        super().__init__(BBAMSettings(**shared), scale, seed, max_batch)

    @torch.enable_grad()
    def explain_records(self, model: Any, records: Sequence[ObjectRecords]) -> None:
        """The maps image by image; see :meth:`ProposalExplainer.explain_records`."""
        check_detector(model)
        for record in records:
            inputs, factors = explained_input(model, record.image, self.scale)
            # one pass needs no acceleration: the checks of these are passes too
            adapter = DetectorAdapter(model, inputs, plain=True)
            check_labels(model, adapter.num_classes, [record.labels])
            jobs = self.jobs(adapter, inputs, factors, record)
            for k in range(0, len(jobs), self.max_batch):
                group = jobs[k:k + self.max_batch]
                for job, grid in zip(group, self._grids(adapter, inputs, group), strict=True):
                    box = torch.from_numpy(record.boxes[job.index] * factors).to(grid)
                    job.mask = normalise_in_box(grid, job.rows, job.columns, box)
                    record.finish(job)

    @abstractmethod
    def _grids(self, adapter: DetectorAdapter, inputs: Tensor, jobs: Sequence[MaskJob]) -> list[Tensor]:
        """For each object ``(h, w)``, not negative and of any height.

        Args:
            adapter: The detector.
            inputs: ``(1, 3, H, W)`` normalised.
            jobs: Objects of this image.
        """


@TASK_UTILS.register_module()
class RoIGradCAM(_RoIGradients):
    """Grad-CAM (Selvaraju et al., ICCV 2017) of the class score, on the map that an object's proposals are pooled from.

    The score is the raw one, before softmax, averaged over the proposals. Proposals may be on several levels of a
    pyramid; the levels' maps ``Σ_k w_k f_k`` are then added, with w_k the sum over positions of the gradient, which
    does not depend on a level's size. The paper's 1/Z is left out: it cancels when the map is divided by its highest
    value in the box.

    Args:
        **settings: ``scale``, ``seed``, ``max_batch`` and BBAM's arguments for proposals and grid.
    """

    def _grids(self, adapter: DetectorAdapter, inputs: Tensor, jobs: Sequence[MaskJob]) -> list[Tensor]:
        with torch.no_grad():
            features = adapter.features(inputs)
        gradients = feature_gradients(adapter, features, jobs, 'cls')
        strides = adapter.extractors[-1].featmap_strides
        grids = [inputs.new_zeros(job.mask.shape) for job in jobs]
        for level, gradient in enumerate(gradients):
            feature = features[level]
            if gradient is None or feature is None:
                continue
            maps = torch.einsum('kc,chw->khw', gradient.sum((2, 3)), feature[0])
            for grid, found, job in zip(grids, maps, jobs, strict=True):
                rows = pool_matrix(job.rows) @ place_matrix(found.shape[0], len(job.rows), strides[level]).to(found)
                columns = pool_matrix(job.columns) @ place_matrix(
                    found.shape[1], len(job.columns), strides[level]).to(found)
                grid += rows @ found @ columns.t()
        return [grid.clamp_min(0) for grid in grids]


@TASK_UTILS.register_module()
class RoISimpleGrad(_RoIGradients):
    """SimpleGrad (Simonyan et al., ICLR workshop 2014) of the predictions, and SmoothGrad (Smilkov et al., 2017).

    The score is the raw class score plus the four offsets, averaged over the proposals; the map is the absolute
    gradient with respect to the image, its largest over the three channels. Each cell is the mean of the pixels around
    it. Backbone and neck are run backwards for all objects of a group in one batched pass.

    Args:
        heads: Whose predictions are in the score: ``'both'``, ``'box'`` or ``'cls'``.
        samples: Noisy copies of the image whose gradients are averaged before the absolute value is taken (SmoothGrad);
            1 is the image without noise.
        noise: Standard deviation of the noise, as a part of the image's range of values.
        **settings: ``scale``, ``seed``, ``max_batch`` and BBAM's arguments for proposals and grid.

    Raises:
        ConfigError: unknown heads, no sample, or no noise.
    """

    def __init__(self, *, heads: str = 'both', samples: int = 1, noise: float = .15, **settings: Any) -> None:
        super().__init__(**settings)
        if heads not in ('both', 'box', 'cls'):
            raise ConfigError(f'heads={heads!r} of RoISimpleGrad', expected="'both', 'box' or 'cls'")
        if samples < 1 or (samples > 1 and not noise > 0):
            raise ConfigError(f'samples={samples}, noise={noise} of RoISimpleGrad',
                              expected='1 or more samples, noise above 0')
        self.heads, self.samples, self.noise = heads, samples, noise

    def _grids(self, adapter: DetectorAdapter, inputs: Tensor, jobs: Sequence[MaskJob]) -> list[Tensor]:
        # by the image alone: an object's result does not depend on the others
        random = torch.Generator().manual_seed(object_seed(self.seed, jobs[0].record.image_id, 0) % 2 ** 63)
        width = self.noise * (inputs.max() - inputs.min())
        total = inputs.new_zeros(len(jobs), *inputs.shape[1:])
        for _ in range(self.samples):
            image = inputs.clone()
            if self.samples > 1:
                image += width * torch.randn(inputs.shape, generator=random).to(inputs)
            total += image_gradients(adapter, image, jobs, self.heads)
        saliency = total.abs().amax(1)
        return [pool_matrix(job.rows) @ found @ pool_matrix(job.columns).t()
                for job, found in zip(jobs, saliency, strict=True)]


def feature_gradients(adapter: DetectorAdapter, features: Sequence[Tensor | None], jobs: Sequence[MaskJob], heads: str
                      ) -> list[Tensor | None]:
    """Gradients of objects' scores with respect to the feature maps of their image.

    Args:
        adapter: The detector.
        features: Of one image, ``(1, D, h, w)`` each.
        jobs: K objects of the image.
        heads: ``'cls'``, the class score; ``'box'``, the sum of the four offsets; or ``'both'``, their sum. Each is
            averaged over an object's proposals.

    Returns:
        For each level ``(K, D, h, w)``, or None where no score depends on it.
    """
    copies = [None if x is None else x.detach().expand(len(jobs), -1, -1, -1).clone(
        memory_format=torch.contiguous_format).requires_grad_() for x in features]
    counts = torch.tensor([len(job.rois[0]) for job in jobs], device=jobs[0].image.device)
    owner = torch.arange(len(jobs), device=counts.device).repeat_interleave(counts)
    labels = torch.tensor([job.label for job in jobs], device=counts.device)[owner]
    plan = adapter.plan([torch.cat(x) for x in zip(*(job.rois for job in jobs), strict=True)], owner)
    scores, deltas = adapter.scores(copies, plan)
    score = scores.new_zeros(len(scores))
    if heads != 'box' or deltas is None:
        score = score + scores.gather(1, labels[:, None])[:, 0]
    if heads != 'cls' and deltas is not None:
        score = score + (adapter.class_deltas(deltas, labels) * adapter.delta_scale).sum(1)
    used = [x for x in copies if x is not None]
    found = iter(torch.autograd.grad((score / counts[owner]).sum(), used, allow_unused=True))
    return [None if x is None else next(found) for x in copies]


def image_gradients(adapter: DetectorAdapter, inputs: Tensor, jobs: Sequence[MaskJob], heads: str) -> Tensor:
    """Gradients of objects' scores with respect to their image.

    Args:
        adapter, jobs, heads: As of :func:`feature_gradients`.
        inputs: ``(1, 3, H, W)`` normalised.

    Returns:
        ``(K, 3, H, W)``.
    """
    inputs = inputs.detach().requires_grad_()
    features = adapter.features(inputs)
    gradients = feature_gradients(adapter, features, jobs, heads)
    pairs = [(x, g[:, None]) for x, g in zip(features, gradients, strict=True) if x is not None and g is not None]
    outputs, rows = [p[0] for p in pairs], [p[1] for p in pairs]
    try:
        found, = torch.autograd.grad(outputs, inputs, rows, is_grads_batched=True, retain_graph=True)
    except RuntimeError:   # an operation whose backward knows no batches
        found = torch.stack([torch.autograd.grad(outputs, inputs, [r[k] for r in rows], retain_graph=True)[0]
                             for k in range(len(jobs))])
    return found[:, 0]


def pool_matrix(spread: Tensor) -> Tensor:
    """Weighted means of the pixels around each cell, ``(cells, pixels)``, rows summing to 1.

    A pixel counts for a cell as much as the cell does for the pixel in a map made of the grid. Means over equal blocks
    of pixels would put the outer cells half a cell too far inwards.

    Args:
        spread: ``(pixels, cells)`` of :func:`~wsss_mm.explainers.bbam_loss.upsampling_matrix`.
    """
    weights = spread.t()
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def place_matrix(cells: int, pixels: int, stride: float) -> Tensor:
    """Bilinear interpolation from a feature map's cells to pixels, ``(pixels, cells)``.

    Args:
        cells: Of the feature map along an axis; the i-th has its middle at ``(i + 1/2) stride``.
        pixels: Of the input.
        stride: Of the feature map.
    """
    place = ((torch.arange(pixels) + .5) / stride - .5).clamp(0, cells - 1)
    distance = (place[:, None] - torch.arange(cells)).abs()
    return (1 - distance).clamp_min(0)


def normalise_in_box(grid: Tensor, rows: Tensor, columns: Tensor, box: Tensor) -> Tensor:
    """A grid divided by the highest value of the cells in the box, cut off at 1.

    Cells of the box are those with their middles in it, or, where it is too small to have any, those it touches.

    Args:
        grid: ``(h, w)``, not negative.
        rows, columns: ``(H, h)`` and ``(W, w)``, by which it becomes a map.
        box: ``(4,)`` in pixels of the input.

    Returns:
        ``(h, w)`` in [0, 1]; 0 where no cell of the box is above 0.
    """
    first, last = box[:2].floor().clamp_min(0).int().tolist(), box[2:].ceil().int().tolist()
    chosen = []
    for spread, start, end in ((rows, first[1], last[1]), (columns, first[0], last[0])):
        middle = spread.argmax(0)
        inside = (middle >= start) & (middle < end)
        chosen.append(inside if inside.any() else spread[start:end].sum(0) > 0)
    highest = grid[chosen[0]][:, chosen[1]].max()
    return (grid / highest).clamp(0, 1) if highest > 0 else torch.zeros_like(grid)
