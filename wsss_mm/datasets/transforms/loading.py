"""Loading images, weak labels and label maps."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from wsss_mm.datasets.label_readers import IGNORED, read_image, read_label_map
from wsss_mm.errors import ConfigError, DataError
from wsss_mm.registry import TRANSFORMS

_GREY_TO_PRIOR = np.rint(np.arange(256) * (254 / 255)).astype(np.uint8)
_LABELS_TO_PRIOR = np.array([0, *[254] * 254, IGNORED], np.uint8)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load an image as BGR uint8, like MMCV's ``LoadImageFromFile``, but refuse files that are cut short.

    See :func:`~wsss_mm.datasets.label_readers.read_image` for what becomes of greyscale, CMYK and EXIF orientation.

    Args:
        backend_args: MMEngine's file backend.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Set ``img`` (H, W, 3), ``img_shape`` and ``ori_shape``."""
        image = np.ascontiguousarray(read_image(results['img_path'], self.backend_args)[..., ::-1])
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class LoadWeakLabels(BaseTransform):
    """Turn a data info's weak labels into image tags and, where there are any, boxes and the definite background.

    Sets ``gt_label`` (C,) float32 multi-hot tags of the whole image; with boxes also ``gt_bboxes`` (K, 4) float32,
    ``gt_bboxes_labels`` (K,) int64 class indices and ``gt_bg_mask`` (H, W) uint8 in ``seg_fields``, 0 in the boxes and
    in those of ``crowds``. An image whose info names its ``supervision`` gets boxes if that is ``'boxes'`` and no other
    way.

    Args:
        boxes: False leaves boxes and background out even where the dataset reads annotations: methods that learn
            from tags alone.
    """

    def __init__(self, boxes: bool = True) -> None:
        self.boxes = boxes

    def transform(self, results: dict) -> dict:
        """Load the labels.

        Raises:
            ConfigError: the dataset reads neither boxes nor tags.
            DataError: the boxes are those of an image of another size.
        """
        if 'img_labels' not in results:
            raise ConfigError('the dataset gives neither boxes nor tags',
                              expected="box_dir='Annotations', or tag_file='tags.json', in the dataset",
                              fix='set one of them, or take LoadWeakLabels out of the pipeline')
        tags = np.zeros(results['num_classes'] - 1, np.float32)
        tags[results['img_labels']] = 1
        results['gt_label'] = tags
        supervision = results.get('supervision')
        if (self.boxes and 'instances' in results) if supervision is None else supervision == 'boxes':
            self._load_boxes(results)
        return results

    def _load_boxes(self, results: dict) -> None:
        size = tuple(results['ori_shape'][:2])
        annotated = tuple(results.get('ann_size', size))
        if annotated != size:
            raise DataError(f'annotated for {annotated[0]} x {annotated[1]} pixels (height x width), the image has '
                            f'{size[0]} x {size[1]}', file=results.get('ann_path', results.get('img_path')),
                            expected='the annotation of this very image',
                            fix='check <size> in the XML, and whether the image was resized or turned')
        instances = results['instances']
        boxes = np.array([i['bbox'] for i in instances], np.float32).reshape(-1, 4)
        results['gt_bboxes'] = boxes
        results['gt_bboxes_labels'] = np.array([i['bbox_label'] for i in instances], np.int64)
        # what a crowd covers has no box of its own, but is no background either
        crowds = np.array([c['bbox'] for c in results.get('crowds', ())], np.float32).reshape(-1, 4)
        crowds[:, 2:] += crowds[:, :2]
        results['gt_bg_mask'] = background_mask(np.concatenate([boxes, crowds]), size)
        results['seg_fields'].append('gt_bg_mask')

    def __repr__(self) -> str:
        return f'{type(self).__name__}(boxes={self.boxes})'


def background_mask(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Rasterise the definite background: 1 outside every box, 0 inside one (BANA, section 3.2).

    A pixel that a box touches counts as inside, so every box covers at least one pixel. Four scattered numbers per
    box and two running sums: O(K + H W), against O(K H W) for filling box by box.

    Args:
        boxes: ``(K, 4)`` pixels, half-open, inside the image.
        size: ``(H, W)``.

    Returns:
        ``(H, W)`` uint8.
    """
    height, width = size
    lower = np.floor(boxes[:, :2]).astype(np.int64)
    upper = np.ceil(boxes[:, 2:]).astype(np.int64)
    lower = np.clip(lower, 0, [width - 1, height - 1])
    upper = np.clip(np.maximum(upper, lower + 1), 1, [width, height])
    (x1, y1), (x2, y2) = lower.T, upper.T
    corners = np.zeros((height + 1, width + 1), np.int32)
    np.add.at(corners, (np.concatenate([y1, y2, y1, y2]), np.concatenate([x1, x2, x2, x1])),
              np.repeat(np.array([1, -1], np.int32), 2 * len(boxes)))
    np.cumsum(corners, 0, out=corners)
    np.cumsum(corners, 1, out=corners)
    return (corners[:height, :width] == 0).astype(np.uint8)


@TRANSFORMS.register_module()
class LoadLabelMaps(BaseTransform):
    """Load label maps (ground truth or pseudo labels) and check size and ids.

    ``gt_seg_map`` is read from ``seg_map_path``, ``gt_seg_map_ret`` from ``seg_map_ret_path``; both come into
    ``seg_fields``, so that all transforms treat them alike. An image whose info names its ``supervision`` gets them
    if that is ``'masks'`` and no other way.

    Args:
        keys: Names in the results.
        backend_args: MMEngine's file backend.
    """

    def __init__(self, keys: Sequence[str] = ('gt_seg_map',), backend_args: dict | None = None) -> None:
        if not keys or not all(key.startswith('gt_') for key in keys):
            raise ConfigError(f'keys is {keys!r}', expected="names such as 'gt_seg_map' and 'gt_seg_map_ret'")
        self.keys = tuple(keys)
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Set each key to its (H, W) uint8 map of segmentation ids.

        Raises:
            ConfigError: the dataset names no such map.
            DataError: unreadable, of another size than the image, or with ids outside the class set.
        """
        for key in self.keys if results.get('supervision', 'masks') == 'masks' else ():
            path_key = f'{key[3:]}_path'
            if path_key not in results:
                raise ConfigError(f'the dataset gives no {path_key} for {key}',
                                  expected=f'label_dirs=dict({key[3:]}=…), or data_prefix=dict(seg_map_path=…)')
            labels = read_label_map(results[path_key], self.backend_args)
            _check_size('label map', labels, results, results[path_key])
            results[key] = _checked_ids(labels, results, results[path_key])
            results['seg_fields'].append(key)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys}, backend_args={self.backend_args})'


def _check_size(what: str, found: np.ndarray, results: dict, path: str) -> None:
    size = tuple(results.get('ori_shape', found.shape)[:2])
    if found.shape != size:
        raise DataError(f'{what} of {found.shape[0]} x {found.shape[1]} pixels (height x width) for an image of '
                        f'{size[0]} x {size[1]}', file=path, expected='the size of the image',
                        fix=f'make the {what} from this very image')


def _checked_ids(labels: np.ndarray, results: dict, path: str) -> np.ndarray:
    mapping = results.get('label_map')
    num_classes = results.get('num_classes')
    table = np.full(256, -1)
    if mapping is not None:
        table[list(mapping)] = list(mapping.values())
    elif num_classes is not None:
        table[:num_classes] = np.arange(num_classes)
    else:
        return labels
    table[IGNORED] = IGNORED
    # counts bytes as they are; np.bincount would widen the map to int64 first
    present = np.flatnonzero(cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel())
    unknown = present[table[present] < 0]
    if len(unknown):
        raise DataError(f'holds the ids {unknown.tolist()}', file=path,
                        expected=f'0 … {int(np.flatnonzero(table >= 0)[-2])}, and {IGNORED} for ignored pixels',
                        fix='give the dataset all its classes, or map the ids')
    return labels if mapping is None else table.astype(np.uint8)[labels]


@TRANSFORMS.register_module()
class LoadPrior(BaseTransform):
    """Load a class-agnostic foreground prior: ``gt_prior`` (H, W) uint8 in ``seg_fields``.

    0…254 are the prior times 254, 255 means unknown, which is also what crops pad with.

    Args:
        kind: ``'saliency'`` reads an 8-bit grey picture, white foreground; ``'labels'`` a label map, whose classes
            become 254, background 0, and ignored pixels stay 255.
        backend_args: MMEngine's file backend.

    Raises:
        ConfigError: unknown kind.
    """

    def __init__(self, kind: str = 'saliency', backend_args: dict | None = None) -> None:
        if kind not in ('saliency', 'labels'):
            raise ConfigError(f'kind is {kind!r}', expected="'saliency' or 'labels'")
        self.kind = kind
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Set ``gt_prior``.

        Raises:
            ConfigError: the dataset names no priors.
            DataError: unreadable, coloured, or of another size than the image.
        """
        if 'prior_path' not in results:
            raise ConfigError('the dataset gives no prior_path for gt_prior', expected='prior_dir=… in the dataset')
        path = results['prior_path']
        if self.kind == 'labels':
            labels = read_label_map(path, self.backend_args)
            prior = cv2.LUT(labels, _LABELS_TO_PRIOR)
        else:
            colours = read_image(path, self.backend_args)
            if (colours != colours[..., :1]).any():
                raise DataError('is coloured', file=path, expected='a grey saliency map, white foreground',
                                fix="kind='labels' reads label maps")
            prior = cv2.LUT(np.ascontiguousarray(colours[..., 0]), _GREY_TO_PRIOR)
        _check_size('prior', prior, results, path)
        results['gt_prior'] = prior
        results['seg_fields'].append('gt_prior')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(kind={self.kind!r}, backend_args={self.backend_args})'
