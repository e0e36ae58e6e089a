"""Masks of a data set's annotated objects: one COCO file for detectors, label maps for segmentors."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsss_mm.datasets.coco_boxes import read_coco_boxes
from wsss_mm.datasets.label_readers import IGNORED
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.localization import pixel_boxes
from wsss_mm.pseudo_labels.generator import LabelGenerator
from wsss_mm.refinement.box_prior import fallback_masks
from wsss_mm.registry import TASK_UTILS
from wsss_mm.run_lengths import decode_mask, encode_masks, mask_api
from wsss_mm.safe_loading import file_sha256
from wsss_mm.structures import ImageSample, LabelResult, ObjectMasks

SEMANTIC_MODES = ('official', 'paper', 'ignore_not_over_fg')
# What is taken from a source's annotation: no mask, where the source has one.
_COPIED = ('id', 'image_id', 'category_id', 'bbox', 'difficult')


class InstanceLabels(LabelGenerator):
    """Writes a mask for each annotated box, and label maps made of them.

    ``instances/<image id>.json`` holds an image's objects, ``labels/<image id>.png`` its label map, ``instances.json``,
    made at the end, all objects in COCO's format. With ``ann_file`` ids, file names, categories and boxes are the
    source's, so that a stock detector trains on the file as on the source, and box AP is untouched by the masks.

    No object is without a pixel: one whose method finds none gets that of its box as a prior in a CRF, and where this
    leaves less than a fifth of the box, the inner 60 % of the box's sides with the rest of the box ignored. Boxes that
    have less than a pixel of width or height within the image are left out; their ids are in the image's file and the
    manifest's notes.

    A subclass gives :meth:`object_masks`.

    Args:
        ann_file: The COCO files of the annotated boxes, as the data set reads them. None: the data set has no
            annotation ids (VOC's XML), objects are numbered from 1.
        classes: Names of the classes 1 … C, for the categories without ``ann_file``.
        semantic: ``mode`` of :func:`semantic_labels`.
        refiner: Config of a :class:`~wsss_mm.refinement.ProposalRefiner`; None: masks stay as they are made.
        refine_labels: False makes the label maps of the masks before they are refined, as BBAM's
            published script does; the published 73.7 mIoU is with them.
        crf: The CRF for objects without a pixel; by default ``dict(type='wsss_mm.DenseCRF', preset='bbam')``.
        image_suffix: Of the images' file names, without ``ann_file``.

    Raises:
        ConfigError: pycocotools is not installed, neither ``ann_file`` nor ``classes``, unknown modes.
    """

    outputs = ('labels',)
    needs_model = False

    def __init__(self, ann_file: str | Sequence[str] | None = None, classes: Sequence[str] | None = None,
                 semantic: str = 'official', refiner: dict | None = None, refine_labels: bool = True,
                 crf: dict | None = None, image_suffix: str = '.jpg') -> None:
        mask_api()
        if ann_file is None and classes is None:
            raise ConfigError(f'{type(self).__name__} without ann_file and classes',
                              expected='ann_file, the COCO file of the boxes; or classes, the names of 1 … C')
        if semantic not in SEMANTIC_MODES:
            raise ConfigError(f'semantic={semantic!r}', expected=', '.join(SEMANTIC_MODES))
        self.ann_files = [] if ann_file is None else [ann_file] if isinstance(ann_file, str) else list(ann_file)
        self.classes, self.image_suffix = tuple(classes or ()), image_suffix
        self.semantic, self.refine_labels = semantic, refine_labels
        self.refiner = None if refiner is None else TASK_UTILS.build(refiner)
        self.crf = TASK_UTILS.build(crf or dict(type='wsss_mm.DenseCRF', preset='bbam'))

    @abstractmethod
    def object_masks(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]
                     ) -> ObjectMasks:
        """Masks of all of ``sample.boxes``, in their order.

        An object may have no pixel of 1, and one whose box lies outside the image is left out by the caller.

        Args:
            sample, features, constants: As of :meth:`label`.
        """

    def fingerprint(self) -> dict[str, str]:
        """``annotations``: of the COCO files; and what a refiner's proposals are made of.

        Raises:
            DataError: a COCO file is missing.
        """
        found = {}
        if self.ann_files:
            missing = [path for path in self.ann_files if not Path(path).is_file()]
            if missing:
                raise DataError('no such COCO file', file=missing[0], expected='the annotations of the boxes',
                                fix='python tools/prepare_dataset.py instances --help')
            hashes = ' '.join(file_sha256(path) for path in self.ann_files)
            found['annotations'] = hashlib.sha256(hashes.encode()).hexdigest()
        if self.refiner is not None:
            found.update(self.refiner.fingerprint())
        return found

    def label(self, sample: ImageSample, features: dict[str, Tensor], constants: dict[str, Tensor]) -> LabelResult:
        """The label map ``labels`` and ``instances/<image id>.json``.

        Raises:
            ConfigError: ``ann_file`` is given and the data set names no annotations, or the other way round.
            DataError: masks of other objects than the sample's.
        """
        if self.ann_files and sample.annotations is None:
            raise ConfigError('the data set names no annotations', expected='wsss_mm.CocoBoxDataset with the same '
                              'ann_file')
        if not self.ann_files and sample.annotations is not None:
            raise ConfigError('the data set names annotations, whose ids would be lost',
                              expected='ann_file=…, the COCO file that the data set reads')
        found = self.object_masks(sample, features, constants)
        if not np.array_equal(found.ids, sample.box_ids) or found.masks.shape != (
                len(found.ids), sample.height, sample.width):
            raise DataError(f'{found.masks.shape} masks of the objects {list(found.ids)[:10]}', expected=f'masks of '
                            f'{sample.height} x {sample.width} of {sample.box_ids.tolist()[:10]}, as the annotations')
        valid = valid_boxes(found.boxes, sample.height, sample.width)
        notes = [f'annotation {i} left out: less than a pixel of its box lies in the image' for i in found.ids[~valid]]
        boxes, labels = found.boxes[valid], found.labels[valid]
        given = [status for status, good in zip(found.statuses, valid.tolist(), strict=True) if good]
        masks, statuses = self._fill(sample, found.masks[valid], boxes, given)
        notes += [f'annotation {i}: {new}' for i, old, new in zip(found.ids[valid], given, statuses, strict=True)
                  if new != old]
        refined = masks if self.refiner is None else self.refiner(sample.image_id, sample.image, masks, boxes)
        content = dict(
            image=dict(file_name=sample.image_id + self.image_suffix, height=sample.height, width=sample.width,
                       id=sample.image_id),
            instances=self._annotations(sample, found, np.flatnonzero(valid), refined, statuses),
            crowds=[_crowd(c, sample) for c in sample.crowds], left_out=found.ids[~valid].tolist())
        label_map = semantic_labels(refined if self.refine_labels else masks, boxes, labels, sample.crowds,
                                    self.semantic)
        return LabelResult(dict(labels=label_map), notes,
                           files={f'instances/{sample.image_id}.json': (_text(content) + '\n').encode()})

    def _fill(self, sample: ImageSample, masks: np.ndarray, boxes: np.ndarray, statuses: list[str]
              ) -> tuple[np.ndarray, list[str]]:
        """Masks without an object's pixel by the CRF of the box, then by the inner box."""
        empty = np.flatnonzero(~np.any(masks == 1, axis=(1, 2)))
        if not len(empty):
            return masks, statuses
        masks, statuses = masks.copy(), list(statuses)
        pixels = pixel_boxes(torch.from_numpy(boxes[empty]), sample.height, sample.width).numpy()
        size = (sample.height, sample.width)
        masks[empty], found = fallback_masks(self.crf.prepare(sample.image), pixels, size)
        for i, status in zip(empty.tolist(), found, strict=True):
            statuses[i] = status
        return masks, statuses

    def _annotations(self, sample: ImageSample, found: ObjectMasks, kept: np.ndarray, masks: np.ndarray,
                     statuses: list[str]) -> list[dict[str, Any]]:
        """The COCO annotations of the objects ``kept``, with ``masks`` of these."""
        ignored: list[bool] = np.any(masks == 2, axis=(1, 2)).tolist()
        objects, areas = encode_masks(masks == 1), np.count_nonzero(masks == 1, axis=(1, 2)).tolist()
        regions = iter(encode_masks(masks[np.array(ignored, bool)] == 2))
        made = []
        for n, i in enumerate(kept):
            x1, y1, x2, y2 = (round(float(v), 3) for v in found.boxes[i])
            own: dict[str, Any] = dict(id=int(found.ids[i]), category_id=int(found.labels[i]),
                                       bbox=[x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)])
            if sample.annotations is not None:
                own.update({k: v for k, v in sample.annotations[i].items() if k in _COPIED})
            if found.scores is not None:
                own['score'] = round(float(found.scores[i]), 6)
            if ignored[n]:
                own['ignore_region'] = next(regions)
            made.append({**(found.details[i] if found.details else {}), **own, 'area': areas[n], 'iscrowd': 0,
                         'segmentation': objects[n], 'status': statuses[n]})
        return made

    def gather(self, root: Path, ids: Sequence[str]) -> Mapping[str, bytes | Iterable[bytes]]:
        """``instances.json``, written image by image: a data set's masks are never in memory together.

        Raises:
            DataError: images or annotations that are not the source's, or ids that occur twice.
        """
        return {'instances.json': self._lines(root, ids)}

    def _lines(self, root: Path, ids: Sequence[str]) -> Iterator[bytes]:
        source, categories = self._source()
        images: list[dict] = []
        seen: set[int] = set()
        before = b'\n'
        yield b'{"annotations": ['
        for number, image_id in enumerate(ids, 1):
            path = root / 'instances' / f'{image_id}.json'
            found = json.loads(path.read_bytes())
            image = source.get(image_id) if self.ann_files else {**found['image'], 'id': number}
            if image is None:
                raise DataError(f'no image {image_id!r}', file=', '.join(self.ann_files),
                                expected='the images that the data set has')
            images.append({**image, **{k: found['image'][k] for k in ('height', 'width')}})
            for annotation in found['instances'] + found['crowds']:
                own = {**annotation, 'image_id': image['id']}
                if not self.ann_files:
                    own['id'] = len(seen) + 1
                if own['id'] in seen:
                    raise DataError(f'the annotation id {own["id"]} occurs twice', file=path,
                                    expected='ids that differ over all of: ' + ', '.join(self.ann_files))
                seen.add(own['id'])
                yield before + _text(own).encode()
                before = b',\n'
        yield f'\n],\n"categories": {_text(categories)},\n"images": {_text(images)}}}\n'.encode()

    def _source(self) -> tuple[dict[str, dict], list[dict]]:
        """Images by their file's stem, and the categories, of the COCO files."""
        images: dict[str, dict] = {}
        categories = [dict(id=i, name=name) for i, name in enumerate(self.classes, 1)]
        for number, path in enumerate(self.ann_files):
            found = read_coco_boxes(path)
            named = [dict(id=i, name=name) for i, name in found.categories.items()]
            if number and named != categories:
                raise DataError('other categories than the first file', file=path,
                                expected=f'those of {self.ann_files[0]}')
            categories = named
            taken = {image['id'] for image in images.values()}
            for image in found.images:
                if image['id'] in taken:
                    raise DataError(f'the image id {image["id"]} occurs twice', file=path,
                                    expected='ids that differ over all of: ' + ', '.join(self.ann_files))
                stem = Path(image['file_name']).stem
                if images.setdefault(stem, image) != image:
                    raise DataError(f'two images are called {stem!r}', file=path, expected='file names that differ')
        return images, categories


def semantic_labels(masks: np.ndarray, boxes: np.ndarray, labels: np.ndarray, crowds: Sequence[Mapping] = (),
                    mode: str = 'official') -> np.ndarray:
    """One label map of the masks of an image's objects (dissertation, section 5.3.3).

    A pixel of objects of one class has that class, one of several classes is ignored. Beyond that:

    ``'official'``
        In the published code, an object whose box lies within another object's box, not equal to it, is drawn over all
        objects, the smallest last; and what any object ignores is ignored, even another's sure pixels.
    ``'paper'``
        No object is drawn over another. Sure pixels of one object stay where another ignores.
    ``'ignore_not_over_fg'``
        As ``'official'``, but sure pixels stay where another object ignores.

    Crowds are ignored in their mask or, without one, their box, as if objects ignored them.

    Args:
        masks: ``(N, H, W)`` uint8: 0 background, 1 object, 2 ignored.
        boxes: ``(N, 4)`` in pixels, half-open.
        labels: ``(N,)`` segmentation ids.
        crowds: COCO annotations.
        mode: See above.

    Returns:
        ``(H, W)`` uint8: 0 background, segmentation ids, 255 ignored.

    Raises:
        ConfigError: another mode.
        DataError: a crowd whose mask is of another image.
    """
    if mode not in SEMANTIC_MODES:
        raise ConfigError(f'semantic labels of mode={mode!r}', expected=', '.join(SEMANTIC_MODES))
    height, width = masks.shape[1:]
    sure, ignored = masks == 1, (masks == 2).any(0)
    result = np.zeros((height, width), np.uint8)
    labels = np.asarray(labels, np.uint8)
    if len(masks):
        ids = labels[:, None, None]
        highest, lowest = np.where(sure, ids, 0).max(0), np.where(sure, ids, IGNORED).min(0)
        result = np.where((highest == lowest) | (highest == 0), highest, IGNORED).astype(np.uint8)
        if mode != 'paper':
            order = _nested(np.asarray(boxes))
            covered = sure[order].any(0)
            if len(order):
                result = np.where(covered, labels[order][sure[order].argmax(0)], result)
    for crowd in crowds:
        ignored |= _crowd_mask(crowd, height, width)
    if mode != 'official':
        ignored &= ~sure.any(0)
    result[ignored] = IGNORED
    return result


def valid_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which of ``boxes (N, 4)`` have at least a pixel of width and height within the image, ``(N,)`` bool."""
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, 2:], [width, height])
    return (high - low >= 1).all(1)


def _nested(boxes: np.ndarray) -> np.ndarray:
    """Numbers of the boxes that lie within another, not equal one, the smallest first, of equal ones the last."""
    low, high = boxes[:, :2], boxes[:, 2:]
    within = ((low[:, None] >= low) & (high[:, None] <= high)).all(2) & (boxes[:, None] != boxes).any(2)
    area = (high - low).prod(1)
    order = np.lexsort((-np.arange(len(boxes)), area))
    return order[within.any(1)[order]]


def _crowd_mask(crowd: Mapping, height: int, width: int) -> np.ndarray:
    if isinstance(crowd.get('segmentation'), Mapping):
        return decode_mask(dict(crowd['segmentation']), height, width)
    x, y, w, h = crowd['bbox']
    mask = np.zeros((height, width), bool)
    x1, y1, x2, y2 = pixel_boxes(torch.tensor([[x, y, x + w, y + h]]), height, width)[0].tolist()
    mask[y1:y2, x1:x2] = True
    return mask


def _crowd(crowd: Mapping, sample: ImageSample) -> dict[str, Any]:
    """A crowd as its source has it, with the mask and area that stock loaders ask for."""
    mask = _crowd_mask(crowd, sample.height, sample.width)
    own = dict(crowd)
    if not isinstance(own.get('segmentation'), Mapping):
        own['segmentation'] = encode_masks(mask[None])[0]
    return {'area': int(mask.sum()), **own, 'iscrowd': 1}


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)
