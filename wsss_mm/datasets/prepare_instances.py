"""Boxes and true masks of a data set in VOC's layout as COCO files: toy VOC, PASCAL VOC 2012, SBD.

``annotations/boxes_<split>.json`` holds the boxes alone, which is what learning from boxes may see;
``annotations/instances_<split>.json`` has also the true masks, for scoring and for full supervision. An object has the
same id in both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import PascalVOCDataset
from scipy.optimize import linear_sum_assignment

from wsss_mm import files
from wsss_mm.datasets.label_readers import IGNORED, LISTS, read_id_list, read_label_map, read_voc_xml
from wsss_mm.datasets.prepare_voc import sbd_folder
from wsss_mm.datasets.toy_voc import TOY_CLASSES
from wsss_mm.datasets.toy_voc.writer import MARKER as TOY_MARKER
from wsss_mm.errors import DataError
from wsss_mm.run_lengths import encode_masks

FOLDER = 'annotations'
MARKER = f'{FOLDER}/prepared.json'
_VERSION = 1        # raise it whenever the files' content changes
_MIN_IOU = .1       # VOC's masks lack a contour of several pixels, which is most of a small object
_SAME_NUMBER = 1e-3


def write_instances(root: str | Path, sbd: str | Path | None = None, box_convention: str = 'exact',
                    progress: Callable[[int, int], None] | None = None) -> dict[str, dict[str, int]]:
    """Write the COCO files of every list in ``ImageSets/Segmentation``.

    Images and objects are numbered from 1 in the order of the list and of the XML files. Boxes are those of the XML
    files; ``difficult`` is kept as a key of its own and not as COCO's ``ignore``, since MMDetection's ``CocoDataset``
    drops what has that, and the methods here learn from difficult objects. A mask goes to the box that it lies in
    (:func:`match`); void contours are part of no mask. Objects without a mask are in ``boxes_<split>.json`` alone, and
    a split gets no ``instances_<split>.json`` if one of its images has no mask at all. Lists of which no image is
    annotated, as VOC's test, are left out.

    Args:
        root: Folder in VOC's layout, with ``SegmentationClass`` and ``SegmentationObject``.
        sbd: SBD as unpacked (``dataset/inst/*.mat``), for images of which VOC has no masks.
        box_convention: ``'exact'``: the file's 1-based pixels with both ends, as half-open 0-based borders, so that a
            box covers the same pixels; MMDetection's boxes are half-open. ``'official'`` takes the numbers as they
            stand, as BANA's code does. See :func:`~wsss_mm.datasets.label_readers.read_voc_xml`.
        progress: Called with (done, total) after each image.

    Returns:
        Per split ``images``, ``boxes``, and ``masks`` where there are any. Nothing is done if the marker
        ``annotations/prepared.json``, which is written last, tells of the same lists and arguments.

    Raises:
        DataError: no lists, an annotation or a mask that is not there or not readable.
        ConfigError: unknown convention; pycocotools is not installed.
    """
    root = Path(root)
    splits = _splits(root)
    wanted = dict(version=_VERSION, source=source_of(root), box_convention=box_convention, sbd=sbd is not None)
    found = files.read_json(root / MARKER)
    if isinstance(found, dict) and all(found.get(k) == v for k, v in wanted.items()):
        return found['splits']
    toy = (root / TOY_MARKER).is_file()
    classes = (TOY_CLASSES if toy else PascalVOCDataset.METAINFO['classes'])[1:]
    index = {name: number for number, name in enumerate(classes, 1)}
    inst = None if sbd is None else sbd_folder(sbd) / 'inst'
    files.remove_leftovers(root / FOLDER)
    records: dict[str, dict[str, Any]] = {}
    ids = list(dict.fromkeys(i for members in splits.values() for i in members))
    for done, image_id in enumerate(ids, 1):
        records[image_id] = _one_image(root, image_id, index, inst, box_convention)
        if progress:
            progress(done, len(ids))
    categories = [dict(id=number, name=name) for name, number in index.items()]
    counts = {name: _write_split(root, name, [records[i] for i in members], categories)
              for name, members in splits.items()}
    files.write_json(root / MARKER, wanted | dict(splits=counts))
    return counts


def source_of(root: str | Path) -> str:
    """A hash of what the files are made from: the toy's marker, or else the id lists."""
    root = Path(root)
    marker = root / TOY_MARKER
    sources = [marker] if marker.is_file() else sorted((root / LISTS).glob('*.txt'))
    digest = hashlib.sha256()
    for path in sources:
        digest.update(f'{path.name}\n'.encode() + path.read_bytes())
    return digest.hexdigest()


def _splits(root: Path) -> dict[str, list[str]]:
    # an empty list is a split of a toy that was drawn without it
    lists = {path.stem: read_id_list(path) for path in sorted((root / LISTS).glob('*.txt')) if path.stat().st_size}
    annotated = {path.stem for path in (root / 'Annotations').glob('*.xml')}
    found = {name: ids for name, ids in lists.items() if not annotated.isdisjoint(ids)}
    if not found:
        raise DataError('no lists of annotated images', file=root / LISTS, expected='train.txt, val.txt …, and '
                        'Annotations/<image id>.xml',
                        fix='name the folder that holds JPEGImages, Annotations and ImageSets with --root')
    return found


def _one_image(root: Path, image_id: str, index: Mapping[str, int], inst: Path | None, convention: str
               ) -> dict[str, Any]:
    """``size``, ``file_name``, ``objects`` (COCO annotations without ids) and ``segmented``."""
    annotation = read_voc_xml(root / f'Annotations/{image_id}.xml', index, convention)
    size = annotation.size
    found = _masks_of(root, image_id, inst)
    objects = []
    for box, label, difficult in zip(annotation.boxes.astype(float), annotation.labels, annotation.difficult,
                                     strict=True):
        x1, y1, x2, y2 = box.tolist()
        objects.append(dict(category_id=int(label), bbox=[x1, y1, x2 - x1, y2 - y1], iscrowd=0,
                            difficult=int(difficult)))
    if found is not None:
        path, numbers, classes = found
        if numbers.shape != size:
            raise DataError(f'has {numbers.shape[0]} x {numbers.shape[1]} pixels (height x width)', file=path,
                            expected=f'{size[0]} x {size[1]}, as the annotation of {image_id}')
        pairs = match(annotation.boxes, annotation.labels, *tight_boxes(numbers), classes)
        masks = numbers == np.array(list(pairs.values()), np.int64)[:, None, None]
        for number, mask, encoded in zip(pairs, masks, encode_masks(masks), strict=True):
            objects[number]['mask'] = dict(segmentation=encoded, area=int(mask.sum()))
    return dict(file_name=f'{image_id}.jpg', size=size, objects=objects, segmented=found is not None)


def _masks_of(root: Path, image_id: str, inst: Path | None) -> tuple[Path, np.ndarray, dict[int, int]] | None:
    """File, object numbers per pixel and class per number of an image; None where nobody segmented it."""
    path = root / f'SegmentationObject/{image_id}.png'
    if path.is_file():
        numbers, labels = read_label_map(path), read_label_map(root / f'SegmentationClass/{image_id}.png')
        return path, numbers, classes_of(numbers, labels)
    if inst is not None and (inst / f'{image_id}.mat').is_file():
        numbers, categories = read_sbd_instances(inst / f'{image_id}.mat')
        return inst / f'{image_id}.mat', numbers, dict(enumerate(categories.tolist(), 1))
    return None


def read_sbd_instances(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The objects of an SBD ``inst/*.mat`` file.

    Returns:
        ``(H, W)`` uint8 object numbers from 1, 0 elsewhere, and ``(N,)`` int64, the objects' classes by VOC's ids.

    Raises:
        DataError: not such a file.
    """
    from scipy.io import loadmat  # slow to import, and only used here
    try:
        found = loadmat(path, variable_names=['GTinst'])['GTinst'][0, 0]
        numbers = np.asarray(found['Segmentation'], np.uint8)
        categories = np.asarray(found['Categories'], np.int64).ravel()
        if numbers.max(initial=0) > len(categories):
            raise ValueError(f'{numbers.max()} objects, {len(categories)} categories')
        return numbers, categories
    # scipy has many ways to fail on a broken file
    except Exception as error:
        raise DataError(f'not readable as SBD instances ({type(error).__name__}: {error})', file=path,
                        expected='a MATLAB file with GTinst.Segmentation and GTinst.Categories',
                        fix='unpack benchmark.tgz of SBD again') from None


def classes_of(numbers: np.ndarray, labels: np.ndarray) -> dict[int, int]:
    """The most frequent class below each object's pixels.

    Args:
        numbers: ``(H, W)`` object numbers; 0 and 255 are none.
        labels: ``(H, W)`` segmentation ids.
    """
    counts = np.zeros((256, 256), np.int64)
    np.add.at(counts, (numbers.ravel(), labels.ravel()), 1)
    counts[:, [0, IGNORED]] = 0
    return {int(i): int(counts[i].argmax()) for i in np.flatnonzero(counts.any(1)) if i not in (0, IGNORED)}


def tight_boxes(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tight boxes of the objects of a map.

    Args:
        numbers: ``(H, W)`` object numbers; 0 and 255 are none.

    Returns:
        ``(M, 4)`` float64 half-open boxes and ``(M,)`` their numbers, ascending.
    """
    y, x = np.nonzero((numbers > 0) & (numbers != IGNORED))
    owner = numbers[y, x]
    lower, upper = np.full((256, 2), 1 << 30), np.zeros((256, 2), np.int64)
    places = np.stack([x, y], 1)
    np.minimum.at(lower, owner, places)
    np.maximum.at(upper, owner, places + 1)
    present = np.unique(owner)
    return np.concatenate([lower[present], upper[present]], 1).astype(np.float64), present.astype(np.int64)


def match(boxes: np.ndarray, labels: np.ndarray, mask_boxes: np.ndarray, mask_numbers: np.ndarray,
          classes: Mapping[int, int]) -> dict[int, int]:
    """Which mask is which box's: of one class, so that the sum of IoUs is greatest.

    Objects are numbered in VOC's maps in the order of the XML, which decides between boxes that coincide.

    Args:
        boxes: ``(N, 4)`` annotated boxes.
        labels: ``(N,)`` their segmentation ids.
        mask_boxes: ``(M, 4)`` tight boxes of the masks.
        mask_numbers: ``(M,)`` the masks' numbers.
        classes: Class of each number.

    Returns:
        The number of the mask by the box's index; boxes without a mask of IoU .1 are left out.
    """
    corners = np.minimum(boxes[:, None, 2:], mask_boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2],
                                                                                   mask_boxes[None, :, :2])
    shared = corners.clip(0).prod(2)
    areas, mask_areas = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, mask_boxes))
    iou = shared / np.maximum(areas[:, None] + mask_areas - shared, 1e-9)
    same_class = labels[:, None] == np.array([classes.get(int(n), -1) for n in mask_numbers])[None]
    iou = np.where(same_class, iou, 0)
    bonus = _SAME_NUMBER * (np.arange(1, len(boxes) + 1)[:, None] == mask_numbers[None])
    rows, columns = linear_sum_assignment(iou + bonus * (iou > 0), maximize=True)
    return {int(r): int(mask_numbers[c]) for r, c in zip(rows, columns, strict=True) if iou[r, c] >= _MIN_IOU}


def _write_split(root: Path, split: str, records: Iterable[dict[str, Any]], categories: list[dict[str, Any]]
                 ) -> dict[str, int]:
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    segmented = True
    for number, record in enumerate(records, 1):
        height, width = record['size']
        images.append(dict(id=number, file_name=record['file_name'], height=height, width=width))
        segmented &= record['segmented']
        for item in record['objects']:
            own = dict(id=len(boxes) + 1, image_id=number) | {k: v for k, v in item.items() if k != 'mask'}
            boxes.append(own | dict(area=own['bbox'][2] * own['bbox'][3]))
            if 'mask' in item:
                masks.append(own | dict(area=item['mask']['area'], segmentation=item['mask']['segmentation']))
    counts = dict(images=len(images), boxes=len(boxes))
    _write_coco(root / f'{FOLDER}/boxes_{split}.json', images, boxes, categories)
    target = root / f'{FOLDER}/instances_{split}.json'
    if segmented:
        _write_coco(target, images, masks, categories)
        counts['masks'] = len(masks)
    else:
        target.unlink(missing_ok=True)   # of an earlier list
    return counts


def _write_coco(path: Path, images: list, annotations: list, categories: list) -> None:
    content = dict(images=images, annotations=annotations, categories=categories)
    files.write_atomic(path, (json.dumps(content, sort_keys=True) + '\n').encode())

