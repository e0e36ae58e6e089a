"""What explainers share that ask a detector about the proposals around a box."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsss_mm.errors import ConfigError
from wsss_mm.explainers.adapter import DetectorAdapter, check_detector
from wsss_mm.explainers.bbam_loss import upsampling_matrix
from wsss_mm.explainers.bbam_masks import BBAMSettings, MaskJob
from wsss_mm.explainers.bbam_proposals import (
    box_iou,
    choose_positives,
    crop_window,
    grid_shape,
    initial_mask,
    jittered_boxes,
    object_seed,
    object_stride,
)
from wsss_mm.explainers.explainer import ObjectExplainer, explained_input, object_maps
from wsss_mm.structures import ObjectMaps

_ROIS_AT_ONCE = 4000


class ProposalExplainer(ObjectExplainer):
    """Explains a box by the proposals around it that the detector sends back to it.

    Around a box proposals are drawn; those whose predicted class is the box's and whose predicted box overlaps it
    enough are kept, and a grid is laid over the image, with a stride by the box's size. A subclass finds the map on it.

    Args:
        settings: Which proposals are kept, and the grid's stride.
        scale: Longest and shortest side of the input, as of ``Resize(scale=…, keep_ratio=True)``; None: own size.
        seed: With the image's and the annotation's id it seeds an object's proposals.
        max_batch: Objects in one pass; the memory's bound.
        crop: Margin in pixels of the input around the boxes to which a job's image is cropped; None: it is whole.
    """

    def __init__(self, settings: BBAMSettings, scale: tuple[int, int] | None, seed: int, max_batch: int,
                 crop: int | None = None) -> None:
        self.settings, self.scale, self.seed, self.max_batch, self.crop = settings, scale, seed, max_batch, crop

    def check(self, model: nn.Module) -> None:
        """Refuse a detector that cannot be explained."""
        check_detector(model)

    def explain(self, model: Any, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray],
                labels: Sequence[np.ndarray], ids: Sequence[np.ndarray], image_ids: Sequence[str]) -> list[ObjectMaps]:
        """Maps of given boxes; see :meth:`ObjectExplainer.explain`.

        Raises:
            ConfigError: a detector that cannot be explained, or a label that it does not know.
        """
        records = [ObjectRecords(image, box, label, number, name) for image, box, label, number, name
                   in zip(images, boxes, labels, ids, image_ids, strict=True)]
        self.explain_records(model, records)
        return [r.maps() for r in records]

    def explain_detections(self, model: Any, images: Sequence[np.ndarray], image_ids: Sequence[str],
                           score_thr: float = .7) -> list[tuple[ObjectMaps, np.ndarray]]:
        """Maps of the boxes that the detector itself finds.

        Each is explained by the one proposal of the detector's that it was made of, and ``a`` is the predicted box's
        area, as in the published demonstration (which has ``sparsity=.07, tv=1e-3``).

        Args:
            model: The detector.
            images: ``(H, W, 3)`` uint8 RGB.
            image_ids: One each.
            score_thr: Detections with a lower score are left out.

        Returns:
            For each image the maps, ids 1, 2, … by falling score, and ``(K,)`` float32 scores.
        """
        check_detector(model)
        records, scores = [], []
        for image, name in zip(images, image_ids, strict=True):
            inputs, factors = explained_input(model, image, self.scale)
            found, proposals = _detect(model, inputs, score_thr)
            records.append(ObjectRecords(image, found['bboxes'] / factors, found['labels'],
                                    np.arange(1, len(found['labels']) + 1), name, proposals))
            scores.append(found['scores'])
        self.explain_records(model, records)
        return [(r.maps(), s) for r, s in zip(records, scores, strict=True)]

    @abstractmethod
    def explain_records(self, model: Any, records: Sequence[ObjectRecords]) -> None:
        """Find the maps of the objects of some images, and :meth:`~ObjectRecords.finish` each.

        Args:
            model: The detector.
            records: One per image.
        """

    @torch.no_grad()
    def jobs(self, adapter: DetectorAdapter, inputs: Tensor, factors: np.ndarray, record: ObjectRecords,
              keep: set[int] | None = None) -> list[MaskJob]:
        """Proposals, references and first masks of an image's objects; what cannot be explained gets its status.

        Args:
            adapter: The detector.
            inputs, factors: As of :func:`explained_input`.
            record: Of the image.
            keep: Numbers of the objects; None: all.
        """
        shape = (inputs.shape[2], inputs.shape[3])
        record.input_shape = shape
        clipped = np.clip(record.boxes, 0, [record.image.shape[1], record.image.shape[0]] * 2)
        numbers = []
        for i, box in enumerate(clipped):
            if (box[2:] - box[:2] < 1).any():
                record.statuses[i] = 'invalid'
            elif keep is None or i in keep:
                numbers.append(i)
        if not numbers:
            return []
        targets = clipped[numbers] * factors
        drawn = [record.proposals[i] if record.proposals is not None else jittered_boxes(
            box, shape, self.settings.n_jitter, self.settings.jitter,
            object_seed(self.seed, record.image_id, int(record.ids[i])))
            for i, box in zip(numbers, targets, strict=True)]
        counts = [len(x) for x in drawn]
        rois = torch.from_numpy(np.concatenate(drawn)).to(inputs)
        labels = torch.from_numpy(record.labels[numbers].astype(np.int64)).to(inputs.device)
        labels = labels.repeat_interleave(torch.tensor(counts, device=inputs.device))
        features = adapter.features(inputs)
        found = [_reference(adapter, features, rois[k:k + _ROIS_AT_ONCE], labels[k:k + _ROIS_AT_ONCE], shape)
                 for k in range(0, len(rois), _ROIS_AT_ONCE)]
        merged = [torch.cat(x) for x in zip(*found, strict=True)]
        jobs = []
        for i, box, *parts in zip(numbers, targets, *(x.split(counts) for x in merged), strict=True):
            job = self._job(adapter, inputs, record, i, torch.from_numpy(box).to(inputs), parts)
            if job is not None:
                jobs.append(job)
        return jobs

    def _job(self, adapter: DetectorAdapter, inputs: Tensor, record: ObjectRecords, index: int, box: Tensor,
             parts: list[Tensor]) -> MaskJob | None:
        correct, probability, deltas, decoded, *rois = parts
        shape, settings = (inputs.shape[2], inputs.shape[3]), self.settings
        if record.proposals is None:
            chosen, used = choose_positives(correct, box_iou(decoded, box), settings.iou_ladder,
                                            settings.max_positives, settings.lower_ladder)
        else:
            chosen, used = torch.arange(len(correct), device=box.device), 0.
        record.positives[index], record.iou_used[index] = len(chosen), used
        predicted = decoded[chosen]
        limit = box.new_tensor([shape[1], shape[0]] * 2)
        within = predicted.clamp_min(0).minimum(limit) if settings.predicted_area and len(chosen) else box[None]
        area = float(((within[:, 2] - within[:, 0]) * (within[:, 3] - within[:, 1])).mean()) / (shape[0] * shape[1])
        stride = object_stride(area, settings.stride)
        record.strides[index] = stride
        grid = grid_shape(shape, stride, settings.ceil_grid)
        record.grids[index] = np.zeros(grid, np.float32)
        if not len(chosen):
            record.statuses[index] = 'no_positive'
            return None
        if float((box[2:] - box[:2]).max()) < 2 * stride:
            record.statuses[index] = 'tiny'
        rois = [x[chosen] for x in rois]
        window = (0, 0, *shape)
        if self.crop is not None:
            window = crop_window(torch.cat([*rois, predicted, box[None]]), box, self.crop, shape)
        top, left, height, width = window
        image = inputs.new_zeros(3, height, width)
        piece = inputs[0, :, top:top + height, left:left + width]
        image[:, :piece.shape[1], :piece.shape[2]] = piece
        matrices = []
        for cells, start, side, full in zip(grid, (top, left), (height, width), shape, strict=True):
            matrix = upsampling_matrix(cells, full, dtype=inputs.dtype)[start:start + side]
            matrices.append(torch.cat([matrix, matrix.new_zeros(side - len(matrix), cells)]).to(inputs))
        offset = box.new_tensor([left, top, left, top])
        return MaskJob(record, index, image, matrices[0], matrices[1], initial_mask(predicted, stride, grid).to(inputs),
                       [x - offset for x in rois], int(record.labels[index]), probability[chosen],
                       deltas[chosen] if adapter.with_boxes else None)


class ObjectRecords:
    """What is known of the objects of one image."""

    def __init__(self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, ids: np.ndarray, image_id: str,
                 proposals: list[np.ndarray] | None = None) -> None:
        count = len(boxes)
        self.image, self.image_id, self.proposals = image, image_id, proposals
        self.boxes, self.labels, self.ids = np.asarray(boxes, np.float32).reshape(-1, 4), labels, ids
        self.input_shape = (image.shape[0], image.shape[1])
        self.statuses = ['ok'] * count
        self.grids = [np.zeros((1, 1), np.float32)] * count
        self.strides, self.iou_used, self.loss_box, self.loss_cls = (np.zeros(count, np.float32) for _ in range(4))
        self.positives, self.iterations = (np.zeros(count, np.int64) for _ in range(2))

    def finish(self, job: MaskJob) -> None:
        """Keep the mask and how it was found."""
        i = job.index
        self.iterations[i], self.loss_box[i], self.loss_cls[i] = job.steps, job.loss_box, job.loss_cls
        if job.diverged:
            self.statuses[i] = 'diverged'
            return
        self.grids[i] = job.mask.float().cpu().numpy()
        if not self.grids[i].any():
            self.statuses[i] = 'all_zero'

    def maps(self) -> ObjectMaps:
        """The image's maps."""
        return object_maps(
            self.image_id, (self.image.shape[0], self.image.shape[1]), self.input_shape, self.boxes, self.labels,
            self.ids, grids=self.grids, statuses=self.statuses, strides=self.strides, positives=self.positives,
            iou_used=self.iou_used, iterations=self.iterations, loss_box=self.loss_box, loss_cls=self.loss_cls)


def _reference(adapter: DetectorAdapter, features: Sequence[Tensor | None], rois: Tensor, labels: Tensor,
               shape: tuple[int, int]) -> tuple[Tensor, ...]:
    """Of each RoI: is its class right, its probability, its offsets, its predicted box, and the RoIs of each stage."""
    stages = adapter.stage_boxes(features, rois, shape)
    probability, deltas = adapter.predict(features, adapter.plan(stages, labels.new_zeros(len(labels))))
    of_class = probability.gather(1, labels[:, None])[:, 0]
    chosen = rois.new_zeros(len(rois), 4) if deltas is None else adapter.class_deltas(deltas, labels)
    # without a head for boxes a proposal is its own prediction
    decoded = stages[-1] if deltas is None else adapter.decode(stages[-1], chosen)
    return probability.argmax(1) == labels, of_class, chosen, decoded, *stages


def check_labels(model: Any, classes: int, labels: Sequence[np.ndarray]) -> None:
    """Check that a detector knows the classes of its boxes.

    Args:
        model: The detector; the names of its classes are in the error.
        classes: How many it has.
        labels: For each image ``(K,)`` class indices.

    Raises:
        ConfigError: one that it does not know.
    """
    for values in labels:
        if len(values) and (values.min() < 0 or values.max() >= classes):
            names = (getattr(model, 'dataset_meta', None) or {}).get('classes', ())
            wrong = sorted({int(v) for v in values if not 0 <= v < classes})
            raise ConfigError(f'boxes of the classes {wrong}, which the detector does not know',
                              expected=f'class numbers 0 … {classes - 1}' + (f': {", ".join(names)}' if names else ''),
                              fix='explain the data set that the detector was trained on')


@contextmanager
def _evaluating(model: nn.Module):
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def _detect(model: Any, inputs: Tensor, score_thr: float) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Detections in pixels of the input, by falling score, and of each the proposal it was made of, ``(1, 4)``."""
    from mmdet.structures import DetDataSample
    shape = (inputs.shape[2], inputs.shape[3])
    sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape,
                                         scale_factor=(1., 1.)))
    with _evaluating(model):
        features = model.extract_feat(inputs)
        proposals = model.rpn_head.predict(features, [sample], rescale=False)
        found = model.roi_head.predict(features, proposals, [sample], rescale=False)[0]
    found = found[found.scores >= score_thr]
    found = found[found.scores.argsort(descending=True)]
    boxes, labels = found.bboxes.float(), found.labels
    origins: list[np.ndarray] = []
    if len(boxes):
        adapter = DetectorAdapter(model, inputs)
        rois = proposals[0].bboxes
        clean = adapter.features(inputs)
        stages = adapter.stage_boxes(clean, rois, shape)
        probability, deltas = adapter.predict(clean, adapter.plan(stages, labels.new_zeros(len(rois))))
        for box, label, score in zip(boxes, labels, found.scores, strict=True):
            of_class = label.expand(len(rois))
            decoded = stages[-1] if deltas is None else adapter.decode(
                stages[-1], adapter.class_deltas(deltas, of_class))
            decoded = decoded.clamp_min(0).minimum(box.new_tensor([shape[1], shape[0]] * 2))
            # two proposals may be sent to nearly one box: the score tells them apart
            best = (box_iou(decoded, box) - (probability[:, label] - score).abs()).argmax()
            origins.append(rois[best:best + 1].cpu().numpy())
    return dict(bboxes=boxes.cpu().numpy(), labels=labels.cpu().numpy(),
                scores=found.scores.float().cpu().numpy()), origins
