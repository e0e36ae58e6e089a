"""Boxes of a COCO file as weak labels."""

from __future__ import annotations

import json
import logging
import math
import os.path as osp
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.logging import print_log

from wsss_mm.datasets.json_stream import stream_lists
from wsss_mm.datasets.label_readers import BORDER_TOLERANCE
from wsss_mm.datasets.toy_voc.writer import voc_palette
from wsss_mm.datasets.voc import WeakSegDataset
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import DATASETS

_KEPT = ('id', 'image_id', 'category_id', 'bbox', 'iscrowd', 'difficult')
_IMAGE_FIELDS = ('id', 'file_name', 'height', 'width')
_SHOWN = 3


class CocoFile(NamedTuple):
    """What :func:`read_coco_boxes` reads.

    Attributes:
        images: ``id``, ``file_name``, ``height``, ``width`` of each image, in the file's order.
        annotations: Annotations by image number, in the file's order; only crowds keep their ``segmentation``.
        categories: Name by id, ascending ids.
    """

    images: list[dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]
    categories: dict[int, str]


def read_coco_boxes(path: str | Path, made_by: str | None = None) -> CocoFile:
    """Read the boxes of a COCO file.

    Of single objects ids, category, box and flags are kept, no outline and no area, which is the true mask's. The rest
    is dropped while the file is parsed, object by object, so that neither its text nor the outlines, most of it, are
    ever in memory all at once.

    Args:
        path: The file.
        made_by: The command that makes it, for the error where there is none.

    Raises:
        DataError: missing, not such a file, an annotation of no image or no category, or an id that is there twice.
    """
    images: list[dict[str, Any]] = []
    named: list[tuple[int, str]] = []
    by_image: dict[int, list[dict[str, Any]]] = {}
    seen: set[int] = set()

    def take(item: dict[str, Any]) -> None:
        number = item['id']
        if number in seen:
            raise DataError(f'annotation id {number} is there twice', file=path, expected='ids that differ')
        seen.add(number)
        by_image.setdefault(item['image_id'], []).append(item)
    try:
        stream_lists(path, dict(
            images=lambda image: images.append(_image(image)), annotations=take,
            categories=lambda c: named.append((int(c['id']), str(c['name'])))), _short)
        categories = dict(sorted(named))
        known = {image['id'] for image in images}
        for item in chain.from_iterable(by_image.values()):
            if item['image_id'] not in known:
                raise DataError(f'annotation {item["id"]}: image_id {item["image_id"]!r} is no image of the file',
                                file=path)
            if item['category_id'] not in categories:
                raise DataError(f'annotation {item["id"]}: category_id {item["category_id"]!r} is no category of the '
                                'file', file=path, expected=f'one of {list(categories)[:10]} …')
    except FileNotFoundError:
        raise DataError('no such COCO file', file=path,
                        expected='JSON with images, annotations and categories', fix=made_by) from None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(f'not readable as a COCO file ({type(error).__name__}: {error})', file=path,
                        expected='JSON with images (id, file_name, height, width), annotations (id, image_id, '
                                 'category_id, bbox) and categories (id, name)') from None
    if len(known) != len(images):
        raise DataError('an image id is there twice', file=path, expected='ids that differ')
    return CocoFile(images, {image['id']: by_image.get(image['id'], []) for image in images}, categories)


def _image(image: dict[str, Any]) -> dict[str, Any]:
    found = {k: image[k] for k in _IMAGE_FIELDS}
    sides = found['height'], found['width']
    if not isinstance(found['file_name'], str) or not all(isinstance(n, (int, float)) and 1 <= n < 2**31
                                                          for n in sides):
        raise ValueError(f'the image {json.dumps(found)[:120]}')
    return found


def _short(node: dict[str, Any]) -> Any:
    if 'category_id' in node and not node.get('iscrowd'):
        return {k: v for k, v in node.items() if k in _KEPT}
    return node


@DATASETS.register_module()
class CocoBoxDataset(WeakSegDataset):
    """Images with boxes from a COCO file: COCO 2017, or what ``tools/prepare_dataset.py instances`` writes.

    An image's id is the stem of its file name. Data infos are those of :class:`WeakSegDataset` with boxes, and also
    hold ``annotations``, the COCO annotations of ``instances`` in their order, with ids, category, box and flags alone,
    and ``crowds``, those of crowds (``iscrowd`` 1), which are no instances. Boxes without area are left out, with a
    note in the log; other boxes are clipped to their image.

    Args:
        ann_file: The COCO file below ``data_root``; its list of images is the split.
        data_prefix: ``img_path``: folder that the file names are relative to; ``seg_map_path`` only where there are
            label maps of the ground truth.
        metainfo: ``classes`` by name, which decide the segmentation ids 1…C; a ``'background'`` that is not there is
            put first. By default the file's categories in the order of their ids. Annotations of other categories are
            an error.
        box_outside: ``'clip'``, or ``'error'`` for boxes that stick out by more than one pixel.
        use_difficult: False leaves out what has ``difficult`` 1.
        filter_cfg: ``dict(filter_empty_gt=True)`` leaves out images without boxes when training.
        kwargs: As of :class:`WeakSegDataset`.

    Raises:
        DataError: not such a file, images that are not there, coordinates that are none.
        ConfigError: arguments of other kinds of annotations.
    """

    DEFAULT_PREFIX: Mapping[str, str] = dict(img_path='')
    PREPARED_BY = ('python tools/prepare_dataset.py coco --year 2017 --root {root}   (COCO; says what to put where)\n'
                   '    python tools/prepare_dataset.py instances --root {root}   (VOC\'s layout)')

    def __init__(self, ann_file: str, *, data_root: str | None = None, metainfo: dict | None = None,
                 box_outside: str = 'clip', **kwargs: Any) -> None:
        if not isinstance(ann_file, str):
            raise ConfigError(f'ann_file is {ann_file!r}', expected='one COCO file; ids of two need not differ')
        unused = [k for k in ('box_dir', 'tag_file', 'mask_count', 'box_count', 'supervision_files')
                  if kwargs.get(k) is not None]
        if unused:
            raise ConfigError(f'{", ".join(unused)} together with a COCO file', expected='boxes of the COCO file')
        self._file: CocoFile | None = None
        self._names: dict[str, dict[str, Any]] = {}
        self._without_area: list[int] = []
        metainfo = dict(metainfo or {})
        if not metainfo.get('classes'):
            self._file = read_coco_boxes(osp.join(data_root or '', ann_file),
                                         self.PREPARED_BY.format(root=data_root or 'ROOT'))
            metainfo['classes'] = tuple(self._file.categories.values())
        if metainfo['classes'][0] != 'background':
            metainfo['classes'] = ('background', *metainfo['classes'])
            metainfo.pop('palette', None)
        metainfo.setdefault('palette', voc_palette()[:len(metainfo['classes'])].tolist())
        super().__init__(ann_file, data_root=data_root, metainfo=metainfo, box_dir=None, box_outside=box_outside,
                         **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Any = None) -> None:
        """None: the classes are those of ``metainfo``."""
        return None

    def load_data_list(self) -> list[dict]:
        """Read the COCO file, look for every image, take the boxes."""
        if self._file is None:
            self._file = read_coco_boxes(self.ann_file, self._data_command())
        unknown = sorted(set(self._file.categories.values()) - set(self._metainfo['classes']))
        used = {a['category_id'] for items in self._file.annotations.values() for a in items}
        beyond = [name for number, name in self._file.categories.items() if name in unknown and number in used]
        if beyond:
            raise DataError(f'has annotations of the categories {", ".join(beyond[:10])}', file=self.ann_file,
                            expected='classes: ' + ', '.join(self._metainfo['classes'][1:11]) + ' …',
                            fix='correct metainfo=dict(classes=…), or leave it out to take the categories of the file')
        infos = super().load_data_list()
        if self._without_area:
            print_log(f'{self.ann_file}: {len(self._without_area)} boxes without area are left out, as the annotations '
                      f'{self._without_area[:_SHOWN]}', 'current', logging.WARNING)
        self._file, self._names = None, {}   # the infos hold all that counts
        return infos

    def filter_data(self) -> list[dict]:
        """Leave out images without boxes, if ``filter_cfg`` asks for it and it is a training."""
        if self.test_mode or not (self.filter_cfg or {}).get('filter_empty_gt'):
            return self.data_list
        kept = [info for info in self.data_list if info['instances']]
        if not kept:
            raise DataError('no image has a box', file=self.ann_file)
        return kept

    def _image_ids(self) -> list[str]:
        assert self._file is not None
        for image in self._file.images:
            stem = Path(image['file_name']).stem
            if stem in self._names:
                raise DataError(f'two images are named {stem!r}', file=self.ann_file,
                                expected='file names whose stems differ: they are the names of the label files')
            self._names[stem] = image
        if not self._names:
            raise DataError('holds no image', file=self.ann_file)
        return list(self._names)

    def _image_path(self, image_id: str) -> str:
        return osp.join(self.data_prefix['img_path'], self._names[image_id]['file_name'])

    def _weak_labels_of(self, info: dict, index: dict[str, int], tags: Any) -> dict:
        assert self._file is not None
        image = self._names[info['img_id']]
        items = self._file.annotations[image['id']]
        crowds = [a for a in items if a.get('iscrowd')]
        single = [a for a in items if not a.get('iscrowd') and (self.use_difficult or not a.get('difficult'))]
        boxes = np.array([self._read_box(a) for a in single], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        limit = np.array([image['width'], image['height']] * 2)
        clipped = boxes.clip(0, limit)
        if self.box_outside == 'error' and len(boxes):
            off = np.abs(boxes - clipped).max(1)
            if off.max() > BORDER_TOLERANCE:
                raise self._wrong(single[int(off.argmax())], 'lies partly outside the image',
                                  f'a box inside width {image["width"]}, height {image["height"]}',
                                  "correct the file, or set box_outside='clip' in the dataset")
        whole = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(1))
        if len(whole) < len(single):
            self._without_area += [a['id'] for i, a in enumerate(single) if i not in whole]
            single = [single[i] for i in whole]
        labels = [index[self._file.categories[a['category_id']]] for a in single]
        instances = [dict(bbox=box, bbox_label=label, ignore_flag=int(bool(a.get('difficult'))))
                     for box, label, a in zip(clipped[whole].astype(np.float32).tolist(), labels, single, strict=True)]
        return dict(instances=instances, img_labels=sorted(set(labels)), annotations=single, crowds=crowds,
                    ann_size=(int(image['height']), int(image['width'])))

    def _read_box(self, item: Mapping[str, Any]) -> list[float]:
        box = item.get('bbox')
        try:
            values = [float(v) for v in box]  # type: ignore[union-attr]
        except (TypeError, ValueError, OverflowError):
            values = []
        if len(values) != 4 or not all(map(math.isfinite, values)):
            raise self._wrong(item, 'is no box', 'x, y, width, height in pixels', None)
        return values

    def _wrong(self, item: Mapping[str, Any], problem: str, expected: str, fix: str | None) -> DataError:
        return DataError(f'annotation {item["id"]}: bbox {json.dumps(item.get("bbox"))[:80]} {problem}',
                         file=self.ann_file, expected=expected, fix=fix)
