"""Predicted instances as a metric of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from wsss_mm import files
from wsss_mm.errors import ConfigError
from wsss_mm.evaluation import coco_files
from wsss_mm.evaluation.coco_files import SIZES
from wsss_mm.evaluation.instance_ap import IOU_THRS, score_results
from wsss_mm.registry import METRICS
from wsss_mm.run_lengths import encode_masks, mask_api


@METRICS.register_module()
class InstanceMetric(BaseMetric):
    """AP of boxes and, where a detector gives them, AP and ABO of masks, for MMDetection's loops.

    Reads ``pred_instances`` (``bboxes, scores, labels``, ``masks`` bool ``(N, H, W)`` or run lengths) and ``img_id`` of
    the samples. Only the images that were seen are scored. Keys: ``bbox_AP``, ``bbox_AP50``, ``bbox_AP75`` and the like
    for the IoUs given (``segm_AP25`` …), ``segm_AP_small`` …, ``segm_ABO``; in percent.

    Args:
        ann_file: COCO file with the true masks; boxes alone will do for a detector without masks.
        iou_thrs: IoUs of single APs of masks; of boxes, those of them that are .5 or higher.
        sizes: Sides of squares that part small, medium and large objects.
        max_dets: Best predictions of a class in an image that count.
        outfile: Where to write the predictions as COCO results (JSON), or None.
        collect_device, prefix: As of mmengine.

    Raises:
        DataError: ``ann_file`` cannot be used.
        ConfigError: a class of the data set that the file has not; pycocotools is not installed.
    """

    default_prefix = 'instances'

    def __init__(self, ann_file: str, iou_thrs: Sequence[float] = IOU_THRS, sizes: Sequence[float] = SIZES,
                 max_dets: int = 100, outfile: str | None = None, collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        mask_api()
        self.ann_file, self.iou_thrs, self.sizes = ann_file, tuple(iou_thrs), tuple(sizes)
        self.max_dets, self.outfile = max_dets, outfile

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the predictions of a batch, masks as run lengths."""
        for sample in data_samples:
            found = sample['pred_instances']
            boxes = found['bboxes'].detach().cpu().numpy().astype(np.float64)
            boxes[:, 2:] -= boxes[:, :2]
            columns = dict(bbox=boxes.tolist(), score=found['scores'].tolist(), label=found['labels'].tolist())
            if 'masks' in found:
                columns['segmentation'] = _run_lengths(found['masks'])
            self.results.append(dict(image_id=sample['img_id'], masks='masks' in found, found=[
                dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]))

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Score all predictions; NaN where there is no true object."""
        true = coco_files.read_truth(self.ann_file)
        by_name = {c['name']: c['id'] for c in true['categories']}
        classes = (self.dataset_meta or {}).get('classes') or list(by_name)
        if strange := [c for c in classes if c not in by_name]:
            raise ConfigError(f'classes {strange} of the data set have no category', file=self.ann_file,
                              expected=', '.join(by_name), fix='name the file of this data set as ann_file')
        made = [{'image_id': r['image_id'], 'category_id': by_name[classes[f['label']]],
                 **{k: v for k, v in f.items() if k != 'label'}} for r in results for f in r['found']]
        if self.outfile:
            files.write_json(Path(self.outfile), made)
        scores: dict[str, float] = {}
        for kind in ['bbox', 'segm'] if all(r['masks'] for r in results) else ['bbox']:
            row = score_results(
                true, made, kind=kind, image_ids=[r['image_id'] for r in results], sizes=self.sizes,
                iou_thrs=self.iou_thrs if kind == 'segm' else [t for t in self.iou_thrs if t >= .5],
                max_dets=self.max_dets, file='predictions', truth_file=self.ann_file).row()
            scores.update({f'{kind}_{name}': float('nan') if v is None else v for name, v in row.items()
                           if kind == 'segm' or name != 'ABO'})
        return scores


def _run_lengths(masks: Any) -> list[dict[str, Any]]:
    """Run lengths with ``counts`` as text, of bool masks ``(N, H, W)`` or of run lengths."""
    if hasattr(masks, 'cpu'):
        return encode_masks(masks.detach().cpu().numpy())
    return [dict(size=[int(s) for s in m['size']],
                 counts=m['counts'].decode('ascii') if isinstance(m['counts'], bytes) else m['counts'])
            for m in masks]
